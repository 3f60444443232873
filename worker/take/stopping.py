"""SIGTERM and SIGINT to a worker: they end it, whatever it is doing.

Handlers do nothing: the interpreter writes each signal's number to a pipe, and a thread reads it. The main thread looks
at what the thread noted wherever it can end well; where it does not come to that in time, the thread ends the process,
and leases give back what it held.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import threading
import time
from collections.abc import Iterator

from lig_core.serving.processes import SAME_SIGNAL_SECONDS, STOP_SIGNALS, stop_signals_written_to

STOP_SIGNALS_AS_BYTES = frozenset(map(int, STOP_SIGNALS))
LAST_SECONDS = 15.0
"""Seconds that ending may take once the grace is over: stopping the job, giving it back, taking leave."""
TOO_LATE = b"lig worker: it did not end in time after the signal to stop, and is ended now\n"


class Stopping:
    """The signal to stop, once it came, and how many seconds of grace a job under way has from the first signal on."""

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._asked_at = math.inf

    @property
    def asked(self) -> bool:
        """True once there was a signal."""
        return self._asked_at < math.inf

    def patience(self) -> float | None:
        """Seconds that the job under way may still take; None while nobody asked."""
        return self._asked_at + self._grace - time.monotonic() if self.asked else None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take signals while the block runs; in the main thread alone."""
        read, write = os.pipe()
        reading = threading.Thread(target=self._read, args=[read], name="signals", daemon=True)
        reading.start()
        try:
            with stop_signals_written_to(write, lambda signum, frame: None):
                yield
        finally:
            os.close(write)
            reading.join()

    def _read(self, pipe: int) -> None:
        try:
            while select.select([pipe], [], [], self._left())[0]:
                numbers = os.read(pipe, 1024)
                if not numbers:
                    return
                if not STOP_SIGNALS_AS_BYTES.isdisjoint(numbers):
                    self._note()
            os.write(2, TOO_LATE)  # no log line: its lock may be what the main thread waits for
            os._exit(1)
        finally:
            os.close(pipe)

    def _note(self) -> None:
        now = time.monotonic()
        if not self.asked:
            self._asked_at = now
        elif now - self._asked_at > SAME_SIGNAL_SECONDS:
            self._grace = min(self._grace, now - self._asked_at)

    def _left(self) -> float | None:
        return max(0.0, self._asked_at + self._grace + LAST_SECONDS - time.monotonic()) if self.asked else None
