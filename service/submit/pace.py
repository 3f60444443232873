"""The work that waits and how fast it is done, as requests need it: read from the store once in a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from service.jobs.job import Job, JobStore, Load
from service.submit.cost import DEFAULT_RATE

LOAD_SECONDS, RATE_SECONDS = 1.0, 5.0
"""For how long what was read is taken to hold."""

T = TypeVar("T")


class _Remembered(Generic[T]):
    def __init__(self, read: Callable[[], T], seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._reading: tuple[float, T] | None = None

    def __call__(self) -> T:
        reading = self._reading
        if reading is None or time.monotonic() - reading[0] > self._seconds:
            self._reading = reading = time.monotonic(), self._read()
        return reading[1]


class Pace:
    """The time that work will take. Every method may block, and raises StoreUnavailable."""

    def __init__(self, jobs: JobStore) -> None:
        self._load: _Remembered[Load] = _Remembered(jobs.load, LOAD_SECONDS)
        self._measured: _Remembered[float | None] = _Remembered(jobs.rate, RATE_SECONDS)

    def rate(self) -> float:
        """Operations a second, as the workers were measured: their time against the estimate at DEFAULT_RATE."""
        return DEFAULT_RATE / (self._measured() or 1.0)

    def queue_seconds(self) -> float:
        """Until work that is sent now would start."""
        return self._load().wait

    def seconds_until_done(self, job: Job) -> float:
        """Until an unfinished job is likely to have ended; of the work that waits, its share that is ahead counts."""
        load = self._load()
        ahead = min(1.0, (job.queue_position or 0) / max(1, load.waiting))
        return load.wait * ahead + job.cost
