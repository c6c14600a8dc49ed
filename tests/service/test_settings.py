"""Settings: from the environment, under flags, with bounds; and the quota of the process."""

import pytest

from service.settings import BadSettings, Settings, read_settings
from service.threads import available_cpus


def test_flags_win_over_environment_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDSERVE_PORT", "9000")
    monkeypatch.setenv("FOLDSERVE_HOST", "0.0.0.0")
    settings = read_settings({"port": "9001", "host": None})
    assert (settings.port, settings.host, settings.max_body_mb) == (9001, "0.0.0.0", 64)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOLDSERVE_PORT", "")
    assert read_settings().port == 8000


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("WORKERS", "0"),
        ("WORKERS", "1000"),
        ("THREADS", "-1"),
        ("MAX_BODY_MB", "0"),
        ("MAX_IMAGE_MEGAPIXELS", "1e9"),
        ("LOG_LEVEL", "loud"),
        ("DRIFT_CHECK_S", "0"),
        ("DRIFT_WEBHOOK", "ftp://host"),
        ("DRIFT_WEBHOOK", "http:///path"),
    ],
)
def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"FOLDSERVE_{name}", value)
    with pytest.raises(BadSettings, match=f"FOLDSERVE_{name}: .*got '{value}'"):
        read_settings()


def test_a_bad_flag_is_named() -> None:
    with pytest.raises(BadSettings, match=r"--port: .*got 'abc'"):
        read_settings({"port": "abc"})


def test_threads_are_shared_among_the_workers() -> None:
    alone = Settings().threads_per_worker()
    assert alone == available_cpus()
    assert Settings(workers=64).threads_per_worker() == max(1, alone // 64)
    assert Settings(workers=2, threads=3).threads_per_worker() == 3
