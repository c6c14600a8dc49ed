"""The log: its two forms, the id of the request that an event belongs to, and what is let through.

Knows the standard library's logging and nothing of the rest. Levels follow the logging extension
of the V2 protocol: information, warnings and errors are switched one by one, and a verbose level
above 0 adds what is for debugging.
"""

import json
import logging
import sys
from contextvars import ContextVar
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

request_id: ContextVar[str] = ContextVar("request_id", default="")

ACCESS = "service.access"  # the logger of finished requests, one event each
_TEXT = "%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What is logged: the settings of the protocol's logging extension, but for the file."""

    log_info: bool = True
    log_warning: bool = True
    log_error: bool = True
    log_verbose_level: int = 0
    log_format: Literal["default", "ISO8601"] = "default"


def settings_for(level: str) -> LogSettings:
    """The settings that let through what is as severe as `level`, or more."""
    number = logging.getLevelNamesMapping()[level.upper()]
    return LogSettings(
        log_info=number <= logging.INFO,
        log_warning=number <= logging.WARNING,
        log_verbose_level=int(number <= logging.DEBUG),
    )


class Log(logging.StreamHandler[TextIO]):
    """The handler of the whole process; `change` alters what it lets through."""

    def __init__(self, form: Literal["text", "json"], settings: LogSettings) -> None:
        super().__init__(sys.stderr)
        self._form = form
        self.settings = settings
        self.change(**asdict(settings))
        self.addFilter(self._passes)

    def change(self, **fields: Any) -> None:
        """Replaces fields of the settings, from the next event on."""
        self.settings = replace(self.settings, **fields)
        iso = self.settings.log_format == "ISO8601"
        self.setFormatter(_Json() if self._form == "json" else _Text(iso))
        verbose = self.settings.log_verbose_level > 0
        logging.getLogger().setLevel(logging.DEBUG if verbose else logging.INFO)

    def _passes(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            return self.settings.log_error
        if record.levelno >= logging.WARNING:
            return self.settings.log_warning
        if record.levelno >= logging.INFO:
            return self.settings.log_info
        return self.settings.log_verbose_level > 0


def install(form: Literal["text", "json"], level: str) -> Log:
    """Makes the handler the only one of the process."""
    log = Log(form, settings_for(level))
    logging.basicConfig(handlers=[log], level=logging.getLogger().level, force=True)
    log.change()  # basicConfig has set the level of the root
    return log


class _Text(logging.Formatter):
    def __init__(self, iso: bool) -> None:
        super().__init__(_TEXT)
        self._iso = iso

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return _iso_time(record) if self._iso else super().formatTime(record, datefmt)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        text, request = super().formatMessage(record), request_id.get()
        return f"{text} [request id: {request}]" if request else text


class _Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "time": _iso_time(record),
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request := request_id.get():
            event["request_id"] = request
        event |= getattr(record, "fields", {})
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json.dumps(event, ensure_ascii=False, default=str)


def _iso_time(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
