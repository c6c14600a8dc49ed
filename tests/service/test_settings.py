"""Settings: from the environment, under flags, with bounds; and the quota of the process."""

from pathlib import Path

import pytest

from service.settings import BadSettings, Settings, available_cpus, read_settings


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
    alone = Settings().threads_per_run()
    assert alone == available_cpus()
    assert Settings(workers=64).threads_per_run() == max(1, alone // 64)
    assert Settings(workers=2, threads=3).threads_per_run() == 3


@pytest.mark.parametrize(
    ("files", "membership", "expected"),
    [
        ({}, "", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1),
        ({"cpu.max": "50000 100000\n"}, "0::/\n", 1),
        ({"pod/cpu.max": "100000 100000\n", "pod/one/cpu.max": "max 100000\n"}, "0::/pod/one", 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "", None),
        (
            {"cpu/pod/cpu.cfs_quota_us": "100000\n", "cpu/pod/cpu.cfs_period_us": "100000\n"},
            "4:cpu,cpuacct:/pod\n3:memory:/other\n",
            1,
        ),
    ],
)
def test_the_quota_of_the_group_bounds_the_processors(
    tmp_path: Path, files: dict[str, str], membership: str, expected: int | None
) -> None:
    unlimited = available_cpus(tmp_path / "none", tmp_path / "none")
    for name, text in files.items():
        (tmp_path / "cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cgroup" / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    assert available_cpus(tmp_path / "cgroup", tmp_path / "membership") == (expected or unlimited)
