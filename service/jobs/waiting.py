"""Waiting for a job to end."""

from __future__ import annotations

import time

from fastapi.concurrency import run_in_threadpool

from service.jobs.job import Job, JobStore
from service.lifecycle import Lifecycle


async def wait_for_end(jobs: JobStore, lifecycle: Lifecycle, owner: str, job: Job, seconds: float) -> Job:
    """The job once it has ended, or as it stands after `seconds` or when the process is about to stop."""
    deadline = time.monotonic() + seconds
    if job.status.final or seconds <= 0:
        return job
    with jobs.watch(job, end=True) as watch, lifecycle.telling(watch.notify):
        while True:
            job = await run_in_threadpool(jobs.get, owner, job.id)
            left = deadline - time.monotonic()
            if job.status.final or left <= 0 or lifecycle.draining:
                return job
            await watch.changed(left)
