"""The settings, read in one place: `FOLDSERVE_*` variables, with flags on top.

Reads the environment and the kernel's view of the process, nothing else; the other rooms are
given plain values.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "FOLDSERVE_"
KIBIBYTE, MEBIBYTE = 2**10, 2**20
_KEY = re.compile(r"[!-+\--~]{8,256}")  # printable, without spaces and commas
_NO_SECRET = SecretStr("")


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
        description="Threads per network run; 0 shares the CPU quota among the workers.",
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
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(lambda v: str(v).lower())
    ] = Field("info", description="Least severe event that is logged.")
    log_format: Annotated[Literal["text", "json"], BeforeValidator(lambda v: str(v).lower())] = (
        Field("text", description="Form of the log: lines of text, or an object a line.")
    )
    access_log: bool = Field(False, description="Whether every request is logged.")

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

    def threads_per_run(self) -> int:
        """Threads of one network run: as set, or this worker's share of the CPU quota."""
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


def available_cpus(
    root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")
) -> int:
    """Processors that this process may use: its affinity and its cgroup quota, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quotas = [quota for folder in _cgroups(root, membership) if (quota := _quota(folder))]
    return max(1, int(min([float(cpus or 1), *quotas])))


def _cgroups(root: Path, membership: Path) -> list[Path]:
    """The folders that may hold a quota: the process's group and its ancestors, v2 and v1."""
    found = [root, root / "cpu"]
    for line in (_text(membership) or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        group = base / path.strip("/")
        found += [group, *(folder for folder in group.parents if folder.is_relative_to(base))]
    return found


def _quota(folder: Path) -> float | None:
    """Processors' worth of time that the group may use; None where it is not limited."""
    v2 = _text(folder / "cpu.max")
    limit, period = (v2 or "max 100000").split()
    if v2 is None:
        limit = _text(folder / "cpu.cfs_quota_us") or "-1"
        period = _text(folder / "cpu.cfs_period_us") or "100000"
    if limit.strip() == "max" or int(limit) <= 0 or int(period) <= 0:
        return None
    return int(limit) / int(period)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return None
