"""Ctrl-C and SIGTERM ask a long piece of work to stop at its next safe point."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, current_thread, main_thread
from types import FrameType


@contextmanager
def stop_on_interrupt() -> Iterator[Event]:
    """An event that the first SIGINT or SIGTERM sets; a second one acts as usual.

    The handlers are put back on leaving. Outside the main thread, where Python lets nobody handle
    signals, the event is never set.
    """
    stop = Event()
    if current_thread() is not main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
