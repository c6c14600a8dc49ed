"""The settings, read in one place: `FOLDSERVE_*` variables, with flags on top.

Reads the environment, nothing else; the other rooms are given plain values.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.threads import available_cpus

PREFIX = "FOLDSERVE_"
MEBIBYTE = 2**20


class BadSettings(Exception):
    """A setting has a value that cannot be used; the message is one sentence for the operator."""


class Settings(BaseSettings):
    """What an operator may choose. Every bound is finite."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    models: Path = Field(Path("models"), description="Folder of bundles, <name>/<version>/.")
    host: str = Field("127.0.0.1", min_length=1, max_length=253, description="Address to bind.")
    port: int = Field(8000, ge=0, le=65535, description="Port to bind; 0 takes any free one.")
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
    max_body_mb: int = Field(64, ge=1, le=1024, description="Largest request body, in MiB.")
    # Pillow has a limit of its own at 89 megapixels, above which it warns.
    max_image_megapixels: int = Field(25, ge=1, le=80, description="Largest picture to decode.")
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(lambda v: str(v).lower())
    ] = Field("info", description="Least severe event that is logged.")

    @property
    def max_body_bytes(self) -> int:
        """Largest request body, in bytes."""
        return self.max_body_mb * MEBIBYTE

    @property
    def max_image_pixels(self) -> int:
        """Largest picture, in pixels (width × height)."""
        return self.max_image_megapixels * 1_000_000

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
