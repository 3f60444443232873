"""Long-polling: how a job stands, once it ended or patience did."""

from __future__ import annotations

import time

from fastapi.concurrency import run_in_threadpool

from service.jobs import Job, JobStore


async def job_after(jobs: JobStore, owner: str, job_id: str, seconds: float) -> Job:
    """The job when it ends, or after so many seconds; raises what `JobStore.get` raises."""
    deadline = time.monotonic() + seconds
    job = await run_in_threadpool(jobs.get, owner, job_id)
    if job.status.final or seconds <= 0:
        return job
    with jobs.watch(job) as watch:
        while True:
            job = await run_in_threadpool(jobs.get, owner, job_id)
            left = deadline - time.monotonic()
            if job.status.final or left <= 0:
                return job
            await watch.changed(left)
