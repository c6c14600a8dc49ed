"""Two-sample tests of a maintained library on the same windows, in an interpreter of its own.

    python benchmarks/drift_peers.py FOLDER

Run so, it reads `pixels.npz` and `softmax.npz`, a reference and windows each, from FOLDER, and
prints JSON. Of alibi-detect (Van Looveren et al.), at the same level: KSDrift, Kolmogorov-Smirnov
on every feature with Bonferroni's correction; and where the interpreter has PyTorch too, MMDDrift,
the maximum mean discrepancy with a Gaussian kernel and 200 permutations (Gretton et al. 2012). On
the softmax that is black-box shift detection (Lipton et al. 2018; Rabanser et al. 2019). Pictures
are reduced to at most 16 × 16 pixels by averaging, or a window would take seconds to minutes.
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
_FEATURES = ("pixels", "softmax")
_TITLES = {"pixels": "on pixels", "softmax": "on the softmax"}
_PERMUTATIONS = 200  # a p-value of 1 % is one of 100


class Peers:
    """The tests, with their references; none where the interpreter has not got the library."""

    def __init__(self, python: str | None, pixels: np.ndarray, scores: np.ndarray) -> None:
        """`pixels` [N, H, W, C] and softmax `scores` [N, K] of the reference."""
        self._python = python
        self._tests = _tests_of(python) if python else []
        self.names = [f"{test} {_TITLES[what]}" for test in self._tests for what in _FEATURES]
        self._reference = (reduced(pixels), scores)
        self._seconds: list[float] = []

    def judge(self, windows: list[tuple[np.ndarray, np.ndarray]]) -> list[list[bool]]:
        """For each test, which windows (reduced pixels, softmax) it calls drift."""
        if self._python is None or not self._tests:
            return []
        with tempfile.TemporaryDirectory() as folder:
            columns = zip(self._reference, zip(*windows, strict=True), strict=True)
            for name, (reference, of_windows) in zip(_FEATURES, columns, strict=True):
                np.savez(Path(folder) / f"{name}.npz", reference, *of_windows)
            command = [self._python, "-W", "ignore", __file__, folder, *self._tests]
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


def _tests_of(python: str) -> list[str]:
    """The tests that the interpreter can do."""
    found = []
    for test, modules in (("KS", "alibi_detect"), ("MMD", "alibi_detect, torch")):
        command = [python, "-W", "ignore", "-c", f"import {modules}"]
        done = subprocess.run(command, capture_output=True, check=False, env=_QUIET)
        found += [test] if done.returncode == 0 else []
    return found


def _judge_here(folder: Path, tests: list[str]) -> None:
    from alibi_detect.cd import KSDrift, MMDDrift

    hits, seconds = [], []
    for test in tests:
        for name in _FEATURES:
            with np.load(folder / f"{name}.npz") as archive:
                names = [f"arr_{index}" for index in range(len(archive.files))]
                reference, *windows = (archive[each].astype(np.float32) for each in names)
            if test == "KS":
                detector = KSDrift(reference, p_val=LEVEL, correction="bonferroni")
            else:
                options = {"backend": "pytorch", "device": "cpu", "n_permutations": _PERMUTATIONS}
                detector = MMDDrift(reference, p_val=LEVEL, **options)
            found, times = [], []
            for window in windows:
                began = time.perf_counter()
                found.append(bool(detector.predict(window)["data"]["is_drift"]))
                times.append(time.perf_counter() - began)
            hits.append(found)
            seconds.append(float(np.median(times)))
    print(json.dumps({"hits": hits, "seconds": seconds}))


if __name__ == "__main__":
    _judge_here(Path(sys.argv[1]), sys.argv[2:])
