"""Messages to an address of the operator's: delivered in a thread, tried again, never waited for.

Every bound is finite: of messages that wait, of attempts, of the time of each. A receiver that
fails is logged once, until it takes a message again.
"""

import http.client
import logging
import threading
import urllib.error
import urllib.request
from collections import Counter, deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import orjson

from service import __version__

logger = logging.getLogger(__name__)


class Outcome(StrEnum):
    """What became of a message."""

    DELIVERED = "delivered"
    FAILED = "failed"  # refused, or not taken in any attempt
    DROPPED = "dropped"  # too many waited


@dataclass(frozen=True, slots=True)
class WebhookLimits:
    """How long and how often a delivery is tried: `backoff_s` after the first attempt, twice as
    long after each further one."""

    attempts: int = 6
    timeout_s: float = 5.0
    backoff_s: float = 1.0
    waiting: int = 64


class Webhook:
    """POSTs JSON to `url`, in the order given."""

    def __init__(self, url: str, limits: WebhookLimits = WebhookLimits()) -> None:
        self._url, self._limits = url, limits
        self._shown = f"{urlsplit(url).scheme}://{urlsplit(url).hostname}"  # the rest may be secret
        self._open = urllib.request.build_opener(_NoRedirect).open
        self.outcomes: Counter[Outcome] = Counter()
        self._queue: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._closed = self._failing = False
        self._thread = threading.Thread(target=self._work, name="webhook", daemon=True)
        self._thread.start()

    def send(self, message: dict[str, Any]) -> None:
        """Puts a message into the queue; never waits."""
        with self._changed:
            if len(self._queue) >= self._limits.waiting:
                self.outcomes[Outcome.DROPPED] += 1
                return
            self._queue.append(orjson.dumps(message))
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread after the attempt in progress; what waits is lost, which is logged."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(self._limits.timeout_s + 1)
        if self._queue:
            logger.warning("webhook %s: %d messages were not sent", self._shown, len(self._queue))

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                message = self._queue[0]
            outcome = self._deliver(message)
            with self._changed:
                if outcome is None:  # closed meanwhile
                    return
                self._queue.popleft()
                self.outcomes[outcome] += 1

    def _deliver(self, message: bytes) -> Outcome | None:
        fault = ""
        for attempt in range(self._limits.attempts):
            if attempt and self._pause(self._limits.backoff_s * 2 ** (attempt - 1)):
                return None
            fault, hopeless = self._try(message)
            if not fault:
                self._tell("")
                return Outcome.DELIVERED
            if hopeless:
                break
        self._tell(fault)
        return Outcome.FAILED

    def _try(self, message: bytes) -> tuple[str, bool]:
        """What went wrong, if anything; and whether trying again is of no use."""
        headers = {"Content-Type": "application/json", "User-Agent": f"foldserve/{__version__}"}
        request = urllib.request.Request(self._url, message, headers, method="POST")
        try:
            with self._open(request, timeout=self._limits.timeout_s) as response:
                response.read(1)
        except urllib.error.HTTPError as error:
            error.close()
            return f"it answered {error.code}", error.code < 500 and error.code not in (408, 429)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}", False
        return "", False

    def _tell(self, fault: str) -> None:
        if fault and not self._failing:
            logger.error("webhook %s: a message could not be delivered: %s", self._shown, fault)
        elif not fault and self._failing:
            logger.info("webhook %s: delivers again", self._shown)
        self._failing = bool(fault)

    def _pause(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A POST is not sent elsewhere, and not turned into a GET: a redirection is a refusal."""

    def redirect_request(self, *_: Any) -> None:
        return None
