"""How the process with the models is stopped in the middle of a job: politely, then between two bytecodes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """Raised in the middle of a job that did not stop by itself. Not an Exception: code that catches those goes on."""


class Interrupt:
    """Listens to SIGUSR1: the first during a job is a request to stop, the second raises Interrupted."""

    def __init__(self) -> None:
        self._in_job = False
        self._requested = False
        signal.signal(signal.SIGUSR1, self._on_signal)

    def requested(self) -> bool:
        """Whether the job under way should stop."""
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
        if not self._in_job:
            return
        if self._requested:
            self._in_job = False  # once is enough: the job is on its way out
            raise Interrupted
        self._requested = True
