"""GET /jobs/{id} and its result; cancelling and deleting a job."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from lig_core.contract import ExplainResult
from lig_core.result.arrays import LayerArrays
from lig_core.result.formats import write_json
from service.jobs import ANONYMOUS, Job, JobStatus, JobStore
from service.problems import JobHasNoResult, JobNotFinished, responses
from service.representation import JobResource, job_json, job_url
from service.settings import Settings

Wait = Annotated[float, Query(ge=0, description="Answer when the job ends, or after this many seconds (60 at most).")]
Embed = Annotated[bool, Query(description="Put a small result into the answer.")]


def router(settings: Settings, jobs: JobStore) -> APIRouter:
    """The routes of one job."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs/{job_id}",
        summary="How a job stands",
        responses={
            200: {"model": JobResource, "description": "The job."},
            **responses("job_not_found", "job_expired", "invalid_request", "store_unavailable"),
        },
    )
    async def read_job(job_id: str, wait: Wait = 0, embed: Embed = True) -> Response:
        """The job, with its result once that is there. `wait` long-polls until the job ends."""
        job = await _job_after(job_id, min(wait, settings.max_wait))
        result = await run_in_threadpool(_small_result, job) if embed else None
        return Response(job_json(job, result=result), media_type="application/json")

    @routes.get(
        "/jobs/{job_id}/result",
        summary="The result of a job",
        responses={
            200: {"model": ExplainResult, "description": "The result."},
            **responses(
                "job_not_found",
                "job_not_finished",
                "job_has_no_result",
                "job_expired",
                "result_expired",
                "store_unavailable",
            ),
        },
    )
    def read_result(job_id: str) -> Response:
        """The whole result."""
        job = jobs.get(ANONYMOUS, job_id)
        _require_result(job)
        return Response(_result(job), media_type="application/json")

    @routes.post(
        "/jobs/{job_id}/cancel",
        status_code=202,
        summary="Cancel a job",
        responses={
            200: {"model": JobResource, "description": "It had been cancelled before."},
            202: {
                "model": JobResource,
                "description": "Cancelled, or about to be: a running job stops within seconds.",
            },
            **responses("job_not_found", "job_expired", "job_ended", "store_unavailable"),
        },
    )
    def cancel_job(job_id: str) -> Response:
        """A queued job never starts; a running one stops within about two seconds, unless it ends first."""
        before = jobs.get(ANONYMOUS, job_id).status
        job = jobs.cancel(ANONYMOUS, job_id)
        code = 200 if before is JobStatus.CANCELLED else 202
        return Response(job_json(job), status_code=code, media_type="application/json")

    @routes.delete(
        "/jobs/{job_id}",
        status_code=204,
        summary="Forget a job",
        responses=responses("job_not_found", "store_unavailable"),
    )
    def delete_job(job_id: str) -> Response:
        """Removes the job, its text and its result; one that runs is cancelled, and removed as it stops."""
        jobs.delete(ANONYMOUS, job_id)
        return Response(status_code=204)

    async def _job_after(job_id: str, seconds: float) -> Job:
        deadline = time.monotonic() + seconds
        job = await run_in_threadpool(jobs.get, ANONYMOUS, job_id)
        if job.status.final or seconds <= 0:
            return job
        with jobs.watch(job) as watch:
            while True:
                job = await run_in_threadpool(jobs.get, ANONYMOUS, job_id)
                left = deadline - time.monotonic()
                if job.status.final or left <= 0:
                    return job
                await watch.changed(left)

    def _small_result(job: Job) -> bytes | None:
        if job.result_size is None or job.result_size > settings.max_embedded_result_bytes:
            return None
        return _result(job)

    def _result(job: Job) -> bytes:
        layers = (LayerArrays.from_bytes(jobs.read_layer(job, layer.index)) for layer in job.layers)
        return b"".join(write_json(jobs.read_head(job), layers))

    return routes


def _require_result(job: Job) -> None:
    if job.status is JobStatus.SUCCEEDED:
        return
    if job.error is not None:
        raise JobHasNoResult(f"the job failed: {job.error['detail']}")
    if job.status is JobStatus.CANCELLED:
        raise JobHasNoResult("the job was cancelled; send the request again")
    raise JobNotFinished(f"the job is {job.status}; wait with GET {job_url(job.id)}?wait=60")
