"""Waiting for a job to end, and its result where it is small enough to come with it."""

from __future__ import annotations

import time

from fastapi.concurrency import run_in_threadpool

from lig_core.result.arrays import LayerArrays
from lig_core.result.formats import write_json
from service.jobs import Job, JobStore


async def wait_for_end(jobs: JobStore, owner: str, job: Job, seconds: float) -> Job:
    """The job once it has ended, or as it stands after `seconds`."""
    deadline = time.monotonic() + seconds
    if job.status.final or seconds <= 0:
        return job
    with jobs.watch(job) as watch:
        while True:
            job = await run_in_threadpool(jobs.get, owner, job.id)
            left = deadline - time.monotonic()
            if job.status.final or left <= 0:
                return job
            await watch.changed(left)


def small_result(jobs: JobStore, job: Job, most_bytes: int) -> bytes | None:
    """The result as JSON; None where there is none, or a larger one. Blocks."""
    if job.result_size is None or job.result_size > most_bytes:
        return None
    layers = (LayerArrays.from_bytes(jobs.read_layer(job, layer.index)) for layer in job.layers)
    return b"".join(write_json(jobs.read_head(job), layers))
