"""Says how far a job has come, where the API can see it."""

from __future__ import annotations

import logging
import time

from redis.exceptions import RedisError
from rq.job import Job

from lig_core.contract import Progress

SHORTEST_INTERVAL_SECONDS = 0.2

log = logging.getLogger(__name__)


class ProgressReport:
    """Writes progress into the job: at once for a new phase, else at most five times a second."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._phase = ""
        self._written_at = 0.0

    def __call__(self, progress: Progress) -> None:
        """Note the progress. Never fails: an explanation does not stop because Redis was away for a moment."""
        now = time.monotonic()
        if progress.phase == self._phase and now - self._written_at < SHORTEST_INTERVAL_SECONDS:
            return
        self._phase, self._written_at = progress.phase, now
        self._job.meta["progress"] = progress.model_dump()
        try:
            self._job.save_meta()
            announce(self._job)
        except RedisError as error:
            log.warning("job %s: progress not written: %s", self._job.id, error)


def announce(job: Job) -> None:
    """Tell those who wait for this job that it changed; the API named the channel when it queued the job."""
    channel = job.meta.get("channel")
    if isinstance(channel, str):
        job.connection.publish(channel, b"")
