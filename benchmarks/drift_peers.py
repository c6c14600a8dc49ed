"""Two-sample tests of a maintained library on the same windows, in an interpreter of its own.

    python benchmarks/drift_peers.py FOLDER

Run so, it reads `pixels.npz` and `softmax.npz`, a reference and windows each, from FOLDER, and
prints JSON. alibi-detect's KSDrift (Van Looveren et al.): Kolmogorov-Smirnov on every feature,
Bonferroni's correction, at the same level. On the softmax that is black-box shift detection
(Lipton et al. 2018; Rabanser et al. 2019). Pictures are reduced to at most 16 × 16 pixels by
averaging, or a window would take seconds to minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

LEVEL = 0.01
_SIDE = 16
_TESTS = ("pixels", "softmax")


class Peers:
    """The tests, with their references; none where the interpreter has not got the library."""

    def __init__(self, python: str | None, pixels: np.ndarray, scores: np.ndarray) -> None:
        """`pixels` [N, H, W, C] and softmax `scores` [N, K] of the reference."""
        self._python = python if python and _works(python) else None
        self.names = ["KS on pixels", "KS on the softmax"] if self._python else []
        self._reference = (reduced(pixels), scores)
        self._seconds: list[float] = []

    def judge(self, windows: list[tuple[np.ndarray, np.ndarray]]) -> list[list[bool]]:
        """For each test, which windows (reduced pixels, softmax) it calls drift."""
        if self._python is None:
            return []
        with tempfile.TemporaryDirectory() as folder:
            columns = zip(self._reference, zip(*windows, strict=True), strict=True)
            for name, (reference, of_windows) in zip(_TESTS, columns, strict=True):
                np.savez(Path(folder) / f"{name}.npz", reference, *of_windows)
            command = [self._python, "-W", "ignore", __file__, folder]
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=_QUIET)
        answer = json.loads(done.stdout.splitlines()[-1])
        self._seconds = answer["seconds"]
        hits: list[list[bool]] = answer["hits"]
        return hits

    def milliseconds(self, size: int) -> list[float]:
        """Of an image in windows of that size, as measured on the way."""
        return [1000 * seconds / size for seconds in self._seconds]


_QUIET = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    result: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return result


def reduced(pixels: np.ndarray) -> np.ndarray:
    """[N, features]: averages of blocks, so that there are at most 16 × 16 of them."""
    count, side, _, channels = pixels.shape
    block = -(-side // _SIDE)
    kept = side // block
    cut = pixels[:, : kept * block, : kept * block]
    blocks = cut.reshape(count, kept, block, kept, block, channels).mean(axis=(2, 4))
    return blocks.reshape(count, -1)


def _works(python: str) -> bool:
    command = [python, "-W", "ignore", "-c", "import alibi_detect"]
    return subprocess.run(command, capture_output=True, check=False, env=_QUIET).returncode == 0


def _judge_here(folder: Path) -> None:
    from alibi_detect.cd import KSDrift

    hits, seconds = [], []
    for name in _TESTS:
        with np.load(folder / f"{name}.npz") as archive:
            reference, *windows = (archive[f"arr_{index}"] for index in range(len(archive.files)))
        detector = KSDrift(reference, p_val=LEVEL, correction="bonferroni")
        found, times = [], []
        for window in windows:
            began = time.perf_counter()
            found.append(bool(detector.predict(window)["data"]["is_drift"]))
            times.append(time.perf_counter() - began)
        hits.append(found)
        seconds.append(float(np.median(times)))
    print(json.dumps({"hits": hits, "seconds": seconds}))


if __name__ == "__main__":
    _judge_here(Path(sys.argv[1]))
