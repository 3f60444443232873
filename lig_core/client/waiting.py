"""Waiting for a job to end, and telling how far it has come. Sends nothing."""

from __future__ import annotations

import time

from lig_core.client.answers import is_final
from lig_core.client.shapes import Job, Report
from lig_core.contract import Progress

POLL_SECONDS = 30.0
POLL_SECONDS_WITH_PROGRESS = 1.0


class Waiting:
    """One wait: how long the next poll may take, what was told last, whether it is over."""

    def __init__(self, job_id: str, on_progress: Report | None, timeout: float | None) -> None:
        self._job_id, self._on_progress, self._timeout = job_id, on_progress, timeout
        self.deadline = deadline(timeout)
        self._last_progress: Progress | None = None

    @property
    def follows_events(self) -> bool:
        """True if events serve better than polling: for progress, unless the wait must end to the second."""
        return self._on_progress is not None and self._timeout is None

    def patience(self) -> float:
        """Seconds that the next poll may take."""
        longest = POLL_SECONDS_WITH_PROGRESS if self._on_progress else POLL_SECONDS
        return longest if self.deadline is None else min(longest, max(0.0, self.deadline - time.monotonic()))

    def tell(self, progress: Progress | None) -> None:
        """Pass progress on if it differs from what was told last."""
        if self._on_progress and progress is not None and progress != self._last_progress:
            self._last_progress = progress
            self._on_progress(progress)

    def is_over(self, job: Job) -> bool:
        """True if the job ended; raises TimeoutError if it did not and the time is up."""
        self.tell(Progress.model_validate(job["progress"]))
        if is_final(job):
            return True
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise TimeoutError(
                f"job {self._job_id} is still {job['status']} after {self._timeout:g} s; ask again with wait()"
            )
        return False


def deadline(timeout: float | None) -> float | None:
    """The monotonic time at which `timeout` seconds from now are over."""
    return None if timeout is None else time.monotonic() + timeout
