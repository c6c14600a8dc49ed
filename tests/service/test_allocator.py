"""What is freed by one thread serves the others: resident memory does not add up over threads."""

import os
import subprocess
import sys

# Threads, one after the other, take 30 MB in small blocks and free all but the last.
PROGRAM = """
import sys, threading
from service.allocator import bound_freed_memory
if "bounded" in sys.argv:
    bound_freed_memory()

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 10**6

def work():
    blocks = [bytes(4000) for _ in range(7500)]
    kept.append(blocks[-1])
    del blocks
    turn.set()
    end.wait()

kept, end, threads = [], threading.Event(), []
before = resident()
for _ in range(6):
    turn = threading.Event()
    threads.append(threading.Thread(target=work))
    threads[-1].start()
    turn.wait()
print(resident() - before)
end.set()
"""


def megabytes(*arguments: str, **variables: str) -> int:
    """What the program holds when all threads have freed."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)


def test_freed_memory_is_shared_by_threads_unless_the_operator_decides() -> None:
    assert megabytes() > 120  # what is to be avoided
    assert megabytes("bounded") < 90
    assert megabytes("bounded", MALLOC_ARENA_MAX="8") > 120
