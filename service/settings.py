"""The settings, read in one place: `FOLDSERVE_*` variables, with flags on top.

Reads the environment, nothing else; the other rooms are given plain values.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.threads import available_cpus

PREFIX = "FOLDSERVE_"
KIBIBYTE, MEBIBYTE = 2**10, 2**20
_KEY = re.compile(r"[!-+\--~]{8,256}")  # printable, without spaces and commas
_NO_SECRET = SecretStr("")


class BadSettings(Exception):
    """A setting has a value that cannot be used; the message is one sentence for the operator."""


class Settings(BaseSettings):
    """What an operator may choose. Every bound is finite."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    models: Path = Field(Path("models"), description="Folder of bundles, `<name>/<version>/`.")
    host: str = Field("127.0.0.1", min_length=1, max_length=253, description="Address to bind.")
    port: int = Field(8000, ge=0, le=65535, description="Port to bind; 0 takes any free one.")
    grpc_port: int = Field(
        0, ge=0, le=65535, description="Port of the V2 protocol over gRPC; 0 for none."
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that share the port.")
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads of each worker for networks; 0 shares the CPU quota among workers.",
    )
    max_batch_rows: int = Field(64, ge=1, le=256, description="Most rows of one run.")
    batch_delay_ms: float = Field(
        0, ge=0, le=1000, description="How long rows may wait for company, in milliseconds."
    )
    max_queue_rows: int = Field(
        4096, ge=1, le=10**6, description="Most rows that wait in the queue of a version."
    )
    queue_timeout_s: float = Field(
        30, gt=0, le=3600, description="Longest wait in the queue where a request states none."
    )
    drain_delay_s: float = Field(
        1, ge=0, le=300, description="How long to go on serving after SIGTERM, while not ready."
    )
    shutdown_timeout_s: int = Field(
        30, ge=1, le=3600, description="Longest wait for requests in flight when stopping."
    )
    required: str = Field(
        "", description="Models that must be ready, separated by commas; empty for all found."
    )
    watch_s: float = Field(
        0, ge=0, le=3600, description="How often to look for changed bundles; 0 for never."
    )
    max_body_mb: int = Field(
        64, ge=1, le=1024, description="Largest request body, in MiB, also after decompression."
    )
    # Pillow has a limit of its own at 89 megapixels, above which it warns.
    max_image_megapixels: int = Field(25, ge=1, le=80, description="Largest picture to decode.")
    max_json_depth: int = Field(100, ge=8, le=1000, description="Deepest nesting of JSON.")
    max_json_values: int = Field(
        8_000_000, ge=1000, le=100_000_000, description="Most values in a JSON body."
    )
    max_header_kb: int = Field(64, ge=4, le=1024, description="Largest head of a request, in KiB.")
    max_connections: int = Field(
        1024, ge=1, le=65_536, description="Most connections at a time, of each worker."
    )
    header_timeout_s: float = Field(
        30, gt=0, le=3600, description="Seconds in which the head of a request must arrive."
    )
    body_timeout_s: float = Field(
        60, gt=0, le=3600, description="Seconds in which a body must arrive, or an answer be read."
    )
    keep_alive_s: int = Field(
        75, ge=1, le=3600, description="Seconds that an idle connection is kept for more requests."
    )
    api_keys: SecretStr = Field(
        _NO_SECRET, description="Keys for all routes but health, by commas, or @file; none: open."
    )
    api_keys_file: Path | None = Field(None, description="File with such keys, one a line.")
    admin_keys: SecretStr = Field(
        _NO_SECRET, description="Keys that also open administration, by commas, or @file."
    )
    admin_keys_file: Path | None = Field(None, description="File with such keys, one a line.")
    cors_origins: str = Field(
        "", description="Origins whose pages may read answers, by commas, or *; none: no CORS."
    )
    tls_certfile: Path | None = Field(None, description="Certificate chain (PEM): serves HTTPS.")
    tls_keyfile: Path | None = Field(None, description="Its private key (PEM).")
    tls_keyfile_password: SecretStr = Field(_NO_SECRET, description="The password of that key.")
    drift_sample: int = Field(
        16, ge=0, le=10**6, description="1 request in so many is watched for drift; 0 for none."
    )
    drift_budget: float = Field(
        0.02, gt=0, le=1, description="Largest share of a processor's time for watching."
    )
    drift_step_s: float = Field(
        300, ge=1, le=86_400, description="Length of the windows in which traffic is kept."
    )
    drift_windows: int = Field(
        12, ge=1, le=1000, description="How many windows are kept; older traffic is forgotten."
    )
    drift_alpha: float = Field(
        0.01, gt=0, lt=0.5, description="Probability of an alarm where nothing has moved."
    )
    drift_check_s: float = Field(
        10,
        ge=0.1,
        le=3600,
        description="How often the traffic is looked at for alarms and metrics.",
    )
    drift_webhook: SecretStr = Field(
        _NO_SECRET, description="Address that is told (HTTP POST) when drift begins and ends."
    )
    drift_state: Path | None = Field(
        None, description="Folder in which what was seen outlives a restart; none: it does not."
    )
    record: Path | None = Field(
        None, description="Folder to keep a sample of the inputs in: data of users; none: nowhere."
    )
    record_rows: int = Field(
        1000, ge=1, le=100_000, description="Most rows of that sample, of each version."
    )
    record_mb: int = Field(
        256, ge=1, le=16_384, description="Most MiB of it, of each version in each worker."
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(lambda v: str(v).lower())
    ] = Field("info", description="Least severe event that is logged.")
    log_format: Annotated[Literal["text", "json"], BeforeValidator(lambda v: str(v).lower())] = (
        Field("text", description="Form of the log: lines of text, or an object a line.")
    )
    access_log: bool = Field(False, description="Whether every request is logged.")

    @field_validator("drift_webhook")
    @classmethod
    def _is_address(cls, address: SecretStr) -> SecretStr:
        parts = urlsplit(address.get_secret_value())
        if address.get_secret_value() and (
            parts.scheme not in ("http", "https") or not parts.hostname
        ):
            raise ValueError("expected an address as http://host/path or https://host/path")
        return address

    @property
    def max_body_bytes(self) -> int:
        """Largest request body, in bytes."""
        return self.max_body_mb * MEBIBYTE

    @property
    def max_image_pixels(self) -> int:
        """Largest picture, in pixels (width × height)."""
        return self.max_image_megapixels * 1_000_000

    @property
    def origins(self) -> tuple[str, ...]:
        """The origins that CORS lets in."""
        return tuple(part.strip() for part in self.cors_origins.split(",") if part.strip())

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")

    def keys(self, kind: Literal["api_keys", "admin_keys"]) -> tuple[str, ...]:
        """The keys of both settings of that name; BadSettings where a file holds none."""
        value: SecretStr = getattr(self, kind)
        file: Path | None = getattr(self, f"{kind}_file")
        text = value.get_secret_value()
        files = [(f"{PREFIX}{kind.upper()}_FILE", file)] if file else []
        if text.startswith("@"):
            files.append((f"{PREFIX}{kind.upper()}", Path(text[1:])))
            text = ""
        found = _split_keys(f"{PREFIX}{kind.upper()}", text)
        return found + tuple(key for place, path in files for key in _read_keys(place, path))

    @property
    def required_models(self) -> frozenset[str]:
        """The names in `required`."""
        return frozenset(name.strip() for name in self.required.split(",") if name.strip())

    def threads_per_worker(self) -> int:
        """Threads of one process for its networks: as set, or its share of the CPU quota."""
        return self.threads or max(1, available_cpus() // self.workers)


def read_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Settings from the environment; `flags` that are not None win. Raises BadSettings."""
    chosen = {name: value for name, value in (flags or {}).items() if value is not None}
    try:
        return Settings(**chosen)  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        name = str(fault["loc"][0])
        place = f"--{name}" if name in chosen else f"{PREFIX}{name.upper()}"
        raise BadSettings(f"{place}: {fault['msg']}; got '{fault['input']}'") from None


def _read_keys(place: str, path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(f"{place}: expected a readable file of keys; got {error}") from None
    keys = _split_keys(place, text)
    if not keys:  # an empty file must not open the service
        raise BadSettings(f"{place}: expected a key a line in '{path}'; got none")
    return keys


def _split_keys(place: str, text: str) -> tuple[str, ...]:
    keys = tuple(part for part in re.split(r"[,\s]+", text) if part)
    for key in keys:
        if not _KEY.fullmatch(key):
            raise BadSettings(
                f"{place}: expected keys of 8 to 256 printable ASCII characters; "
                f"got one of {len(key)}"
            )
    return keys
