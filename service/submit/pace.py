"""How long work will take, as requests need it: what the store says is read once in a while."""

from __future__ import annotations

import time

from service.jobs.job import Job, JobStore, Load
from service.submit.cost import DEFAULT_RATE

LOAD_SECONDS = 1.0
"""For how long what was read is taken to hold."""


class Pace:
    """The time that work will take. Every method may block, and raises StoreUnavailable."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._read: tuple[float, Load] | None = None

    def rate(self) -> float:
        """Operations a second, as the workers were measured: their time against the estimate at DEFAULT_RATE."""
        return DEFAULT_RATE / (self._load().rate or 1.0)

    def queue_seconds(self) -> float:
        """Until work that is sent now would start."""
        return self._load().wait

    def seconds_until_done(self, job: Job) -> float:
        """Until an unfinished job is likely to have ended; of the work that waits, its share that is ahead counts."""
        load = self._load()
        ahead = min(1.0, (job.queue_position or 0) / max(1, load.waiting))
        return load.wait * ahead + job.cost

    def _load(self) -> Load:
        read = self._read
        if read is None or time.monotonic() - read[0] > LOAD_SECONDS:
            if read is not None:  # what comes while this one asks takes what was read
                self._read = time.monotonic(), read[1]
            self._read = read = time.monotonic(), self._jobs.load()
        return read[1]
