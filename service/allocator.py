"""How much freed memory the C library keeps, bounded; where it is glibc (Linux).

glibc gives threads heaps of their own, up to eight for each processor, and what one of them has
freed serves no other. And after a large block was freed, it keeps blocks of that size too. A
service that has seen many kinds of requests would hold several times what it needs.
"""

import contextlib
import ctypes
import os

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2  # the main thread's, and one for all others
_LARGE = (
    8 * 2**20
)  # blocks from here on go back to the system at once; as does so much in one piece


def bound_freed_memory() -> None:
    """To be called before there are threads. Variables MALLOC_… of the operator's win."""
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_M_TRIM_THRESHOLD, _LARGE)
