"""The quota of the process bounds its threads; a hand-over has a cost."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.threads import available_cpus, hand_over_seconds


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


def test_a_hand_over_takes_microseconds_not_milliseconds() -> None:
    with ThreadPoolExecutor(1) as executor:
        assert 1e-6 < hand_over_seconds(executor) < 1e-2
