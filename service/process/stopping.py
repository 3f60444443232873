"""SIGTERM and SIGINT as something to wait for: handlers count them, and who waits is woken by the byte in a pipe."""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator
from types import FrameType

from lig_core.serving.processes import stop_signals_written_to


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
    os.set_blocking(read, False)
    try:
        with stop_signals_written_to(write, stop.note):
            yield stop
    finally:
        os.close(read)
        os.close(write)
