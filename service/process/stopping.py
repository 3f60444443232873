"""SIGTERM and SIGINT as something to wait for.

A handler runs between two bytecodes of the main thread, whatever it holds just then: one that takes a lock may wait
for itself for ever. These count, and no more; who waits is woken by the byte that the interpreter writes to a pipe.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(Exception):
    """A signal to stop came while there was something to wait for."""


class StopSignals:
    """Those that came since `stop_signals`; `pipe` is readable when there is a new one."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self.count = 0

    def wait(self, seconds: float, beyond: int = 0) -> bool:
        """True if there were more than `beyond` signals; waits `seconds` for it at the most."""
        if self.count <= beyond:
            select.select([self._pipe], [], [], seconds)
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe, 1024)
        return self.count > beyond

    def sleep(self, seconds: float) -> None:
        """Wait; raises Stopped as soon as there was a signal."""
        if self.wait(seconds):
            raise Stopped

    def note(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal: count it."""
        self.count += 1


@contextlib.contextmanager
def stop_signals() -> Iterator[StopSignals]:
    """Note the signals while the block runs; in the main thread alone."""
    read, write = os.pipe()
    stop = StopSignals(read)
    try:
        for end in (read, write):
            os.set_blocking(end, False)
        woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        before = {name: signal.signal(name, stop.note) for name in STOP_SIGNALS}
        try:
            yield stop
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)
            signal.set_wakeup_fd(woken)
    finally:
        os.close(read)
        os.close(write)
