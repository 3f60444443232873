"""Results as they are stored: loaded a layer at a time."""

from __future__ import annotations

from collections.abc import Collection

from lig_core.result.arrays import LayerArrays, Result
from lig_core.result.formats import write_json
from service.http.errors import JobHasNoMaps, JobHasNoResult, JobNotFinished
from service.jobs.job import Job, JobStatus, JobStore


def stored_result(jobs: JobStore, job: Job, layers: Collection[int] | None = None) -> Result:
    """The result of a job; raises JobNotFinished, JobHasNoResult, ResultExpired. Loading a layer may raise the last.

    Of a running job, where it is asked for some `layers` that are done, those.
    """
    indices = [layer.index for layer in job.layers]
    if job.status is not JobStatus.RUNNING or layers is None or not {*layers} <= {*indices}:
        _require_success(job)
    return Result(jobs.read_head(job), indices, lambda index: LayerArrays.from_bytes(jobs.read_layer(job, index)))


def explained_result(jobs: JobStore, job: Job, layers: Collection[int] | None = None) -> Result:
    """The same, which holds maps; raises JobHasNoMaps as well, of a job that is no explanation."""
    if job.request.kind != "explain":
        raise JobHasNoMaps(
            f"job '{job.id}' measured sentences, and what is asked is about maps; read its result as JSON, NDJSON, npz "
            "or safetensors, by layers or whole, or ask about a job of POST /v1/explain"
        )
    return stored_result(jobs, job, layers)


def small_result(jobs: JobStore, job: Job, most: int) -> bytes | None:
    """The result of a job as JSON, where there is one of at most so many bytes."""
    # Digits take more than the bytes of the numbers, so what is larger than that need not be written out.
    if job.result_size is None or job.result_size > 2 * most:
        return None
    parts, size = [], 0
    head, layers = jobs.read_whole(job)
    for part in write_json(head, map(LayerArrays.from_bytes, layers)):
        parts.append(part)
        size += len(part)
        if size > most:
            return None
    return b"".join(parts)


def _require_success(job: Job) -> None:
    if job.status is JobStatus.SUCCEEDED:
        return
    if job.error is not None:
        raise JobHasNoResult(f"the job failed: {job.error['detail']}")
    if job.status is JobStatus.CANCELLED:
        raise JobHasNoResult("the job was cancelled; send the request again")
    done = ", ".join(str(layer.index) for layer in job.layers)
    partly = f", or ask for layers that are done with ?layers=: {done}" if done else ""
    raise JobNotFinished(f"the job is {job.status}; wait with GET …/v1/jobs/{job.id}?wait=60{partly}")
