"""Stops the service under load, many times, and looks for a lost or a half answer.

    python benchmarks/stopping.py --times 100 [--workers 2]

At a random moment under load the service gets SIGTERM; see tests/stopping.py for what is a loss.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.service.bundles import write_bundle  # noqa: E402
from tests.stopping import stop_under_load  # noqa: E402


def main() -> int:
    """Prints a line for each stop that went wrong, and the sum; 1 where there was one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw, total, wrong = random.Random(arguments.seed), Counter[str](), 0
    with tempfile.TemporaryDirectory() as folder:
        write_bundle(Path(folder))
        for number in range(arguments.times):
            load_s = draw.uniform(0.1, 0.6)
            results, status, _ = stop_under_load(Path(folder), load_s, arguments.workers)
            total += results
            if status or set(results) != {"answered"}:
                wrong += 1
                print(f"stop {number}: exit status {status}, {dict(results)}", flush=True)
    print(f"{arguments.times} stops, {wrong} wrong: {dict(total)}")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
