"""The recorded sample: fair, bounded, kept over restarts, merged over workers, and never asked for
by anybody but an administrator."""

import io
import stat
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.guard import is_administration
from service.app import create_app
from service.bundle import open_bundle
from service.recording import Recorder, RecordLimits
from service.reservoir import Reservoir, load_reservoir, merge, to_npz, write_whole
from service.settings import Settings
from tests.servers import poll, serving, start
from tests.service.watched import NAME, images, write_watched

ROUTE = f"/v2/models/{NAME}"
Rows = NDArray[np.float32]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_watched(tmp_path_factory.mktemp("recorded"), measured=False)


def numbered(first: int, count: int) -> dict[str, Rows]:
    """Rows that hold their number."""
    return {"x": np.arange(first, first + count, dtype=np.float32)[:, np.newaxis]}


def held(reservoir: Reservoir) -> set[int]:
    return {int(row["x"][0]) for _, row in reservoir.items()}


def test_every_row_is_as_likely_as_any_other() -> None:
    """10 of 40 rows in 2,000 draws: each 500 times, ±19 (one deviation); none is off by 5."""
    counts = np.zeros(40)
    for stream in range(2000):
        reservoir = Reservoir(10, stream)
        for first, count in ((0, 1), (1, 20), (21, 3), (24, 16)):
            reservoir.add(numbered(first, count))
        assert len(reservoir.items()) == 10
        counts[list(held(reservoir))] += 1
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)


def test_merged_samples_are_a_sample_of_all_rows(tmp_path: Path) -> None:
    """Of 30 rows of one worker and 10 of another, each is in a quarter of the merged samples."""
    counts = np.zeros(40)
    for trial in range(300):
        paths = []
        for worker, (first, count) in enumerate(((0, 30), (30, 10))):
            reservoir = Reservoir(10, 2 * trial + worker)
            reservoir.add(numbered(first, count))
            paths.append(tmp_path / f"{worker}.npz")
            write_whole(paths[-1], to_npz(reservoir.arrays()))
        counts[merge(paths, 10)["x"][:, 0].astype(int)] += 1
    assert counts.sum() == 3000
    assert np.abs(counts - 75).max() < 5 * np.sqrt(300 * 0.25 * 0.75)
    assert abs(counts[:30].sum() - 2250) < 5 * np.sqrt(3000 * 0.25 * 0.75)


def test_a_sample_goes_on_after_a_restart_with_other_keys(tmp_path: Path) -> None:
    path, whole = tmp_path / "0.npz", Reservoir(5)
    whole.add(numbered(0, 20))
    write_whole(path, to_npz(whole.arrays()))
    again = load_reservoir(path, 5, 0)
    assert (again.seen, held(again)) == (20, held(whole))
    before = {key for key, _ in whole.items()}
    again.add(numbered(20, 2000))
    assert not {key for key, row in again.items() if row["x"][0] >= 20} & before
    assert len(again.items()) == 5


def test_the_same_requests_give_the_same_sample() -> None:
    pair = [Reservoir(5, 3), Reservoir(5, 3)]
    for reservoir in pair:
        reservoir.add(numbered(0, 100))
    assert held(pair[0]) == held(pair[1])


def test_a_damaged_file_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, data in (("0.npz", b"no archive"), ("1.npz", to_npz({"x": np.zeros(3)}))):
        (tmp_path / name).write_bytes(data)
    assert merge(sorted(tmp_path.glob("*.npz")), 5) == {}
    assert len(caplog.records) == 2


def test_the_sample_is_bounded_in_rows_and_bytes(tmp_path: Path, folder: Path) -> None:
    bundle, row = open_bundle(folder), images(1, 0).nbytes
    for limits, kept in (
        (RecordLimits(tmp_path / "a", rows=7), 7),
        (RecordLimits(tmp_path / "b", rows=100, size=3 * row + 1), 3),
    ):
        recorder = Recorder(limits)
        recording = recorder.record(bundle.manifest)
        assert recording is not None
        recording.offer({"image": images(50, 1)})
        recorder.close()
        assert limits.folder is not None
        (path,) = limits.folder.rglob("*.npz")
        assert path == limits.folder / NAME / "1" / "0.npz"
        assert len(merge([path], 1000)["image"]) == kept
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_rows_of_another_shape_are_left_out() -> None:
    reservoir = Reservoir(10)
    reservoir.add({"x": np.zeros((2, 3), np.float32)})
    assert not reservoir.add({"x": np.ones((2, 4), np.float32)})
    assert reservoir.arrays()["x"].shape == (2, 3)


def _infer(client: httpx.Client, rows: Rows) -> httpx.Response:
    tensor = {"name": "image", "shape": list(rows.shape), "datatype": "FP32"}
    return client.post(f"{ROUTE}/infer", json={"inputs": [tensor | {"data": rows.tolist()}]})


def _recorded(client: httpx.Client) -> Rows:
    answer = client.get(f"{ROUTE}/recording").raise_for_status()
    assert answer.headers["content-type"] == "application/octet-stream"
    with np.load(io.BytesIO(answer.content), allow_pickle=False) as archive:
        assert archive.files == ["image"]
        rows: Rows = archive["image"]
        return rows


def _sorted(rows: Rows) -> Rows:
    flat = rows.reshape(len(rows), -1)
    return flat[np.argsort(flat[:, 0])]


def test_nothing_is_recorded_unless_asked_for(tmp_path: Path, folder: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    settings = Settings(models=folder.parent.parent, threads=1)
    with serving(create_app(settings)) as client:
        assert _infer(client, images(3, 0)).status_code == 200
        answer = client.get(f"{ROUTE}/recording")
        assert answer.status_code == 404
        assert "FOLDSERVE_RECORD" in answer.json()["error"]
    assert sorted(tmp_path.rglob("*")) == before


def test_what_was_answered_is_what_was_recorded(tmp_path: Path, folder: Path) -> None:
    """Bit by bit, over a restart; a request that is refused is not recorded; a reset forgets."""
    settings = Settings(models=folder.parent.parent, threads=1, record=tmp_path / "kept")
    rows = images(12, 5)
    with serving(create_app(settings)) as client:
        empty = client.get(f"{ROUTE}/recording")
        assert (empty.status_code, "no input was recorded yet" in empty.text) == (404, True)
        for first in range(0, 9, 3):
            assert _infer(client, rows[first : first + 3]).status_code == 200
        assert _infer(client, rows[:, :2]).status_code == 400
        np.testing.assert_array_equal(_sorted(_recorded(client)), _sorted(rows[:9]))
    with serving(create_app(settings)) as client:
        assert _infer(client, rows[9:]).status_code == 200
        np.testing.assert_array_equal(_sorted(_recorded(client)), _sorted(rows))
        reset = client.post(f"{ROUTE}/versions/1/recording/reset").raise_for_status()
        assert reset.json() == {"model_name": NAME, "model_version": "1"}
        assert not list((tmp_path / "kept").rglob("*.npz"))
        assert client.get(f"{ROUTE}/recording").status_code == 404
        _infer(client, rows[:2])
        np.testing.assert_array_equal(_sorted(_recorded(client)), _sorted(rows[:2]))


def test_answers_are_the_same_bits_with_and_without(tmp_path: Path, folder: Path) -> None:
    answers = []
    for record in (None, tmp_path / "kept"):
        settings = Settings(models=folder.parent.parent, threads=1, record=record)
        with serving(create_app(settings)) as client:
            answers.append(_infer(client, images(8, 2)).content)
    assert answers[0] == answers[1]


def test_any_worker_hands_out_what_all_have_recorded(tmp_path: Path, folder: Path) -> None:
    server = start(
        "--models", str(folder.parent.parent), "--workers", "2", FOLDSERVE_RECORD=str(tmp_path)
    )
    try:
        url, rows = f"http://{server.address}", images(40, 3)
        poll(lambda: server.status("/v2/health/ready") == 200, "the server to be ready")
        for row in range(40):  # a connection each, so that both workers get some
            with httpx.Client(base_url=url) as client:
                assert _infer(client, rows[row : row + 1]).status_code == 200
        with httpx.Client(base_url=url) as client:
            np.testing.assert_array_equal(_sorted(_recorded(client)), _sorted(rows))
        assert sorted(p.name for p in tmp_path.rglob("*.npz")) == ["0.npz", "1.npz"]
        with httpx.Client(base_url=url) as client:
            client.post(f"{ROUTE}/recording/reset").raise_for_status()
        assert not list(tmp_path.rglob("*.npz"))
    finally:
        status, errors = server.stop()
    assert status == 0, errors


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v2/models/m/recording"),
        ("GET", "/v2/models/m/versions/1/recording"),
        ("POST", "/v2/models/m/recording/reset"),
        ("POST", "/v2/models/m/versions/1/recording/reset"),
        ("GET", "/v2/models/m/recording\n"),
        ("POST", "/v2/repository/models/m/load\n"),
    ],
)
def test_only_an_administrator_may(method: str, path: str) -> None:
    assert is_administration(method, path)


def test_a_layer_of_that_name_is_open() -> None:
    assert not is_administration("GET", "/v2/models/m/normalization/recording")
