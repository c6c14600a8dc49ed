"""Reloads one model many times, and compares resident memory before and after.

    python benchmarks/reloads.py --times 1000

The first reloads let the allocator and ONNX Runtime reach their size; they are not counted.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

import numpy as np  # noqa: E402

from service.metrics import resident_bytes  # noqa: E402
from service.registry import load_registry  # noqa: E402
from tests.service.bundles import write_bundle  # noqa: E402

WARM_UP, LIMIT = 50, 1.05


def reload_many(models: Path, times: int, warm_up: int = WARM_UP) -> tuple[int, int]:
    """Resident bytes after the warm-up, and after `times` more, with an answer after each."""
    registry = load_registry(models, threads=1)
    image = {"image": np.ones((1, 3, 8, 8), np.float32)}
    expected = asyncio.run(registry.get("tiny").predict(image))["scores"].tobytes()
    before = 0
    for number in range(warm_up + times):
        if number == warm_up:
            before = resident_bytes()
        registry.load("tiny")
        answer = asyncio.run(registry.get("tiny").predict(image))["scores"].tobytes()
        assert answer == expected, "a reload of the same version changed an answer"
    registry.close()
    return before, resident_bytes()


def main() -> int:
    """Prints both figures; 1 where memory grew by more than 5 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=1000)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder))
        began = time.perf_counter()
        before, after = reload_many(Path(folder), times)
    seconds = time.perf_counter() - began
    print(
        f"{times} reloads in {seconds:.1f} s: {before / 2**20:.1f} MiB before, "
        f"{after / 2**20:.1f} MiB after ({after / before - 1:+.1%}, limit {LIMIT - 1:.0%})"
    )
    return int(after > before * LIMIT)


if __name__ == "__main__":
    sys.exit(main())
