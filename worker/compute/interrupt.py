"""How the process with the models is asked to stop in the middle of a job."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt:
    """Listens to SIGUSR1: during a job it is a request to stop. Who does not heed it is killed: see `supervision`.

    The handler only sets a flag. An exception raised from it would come between any two bytecodes, and might leave a
    lock taken, or half an answer of Redis unread, for the jobs after this one.
    """

    def __init__(self) -> None:
        self._in_job = False
        self._requested = False
        signal.signal(signal.SIGUSR1, self._on_signal)

    def requested(self) -> bool:
        """True once the job under way should stop."""
        return self._requested

    @contextmanager
    def during_job(self) -> Iterator[None]:
        """While the block runs, signals concern the job in it; outside they mean nothing."""
        self._requested, self._in_job = False, True
        try:
            yield
        finally:
            self._in_job = False

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._requested = self._in_job
