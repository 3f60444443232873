"""GET /jobs/{id} and its result; cancelling and deleting a job."""

from __future__ import annotations

import gzip
import time
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from lig_core.contract import ExplainResult
from service.jobs import Job, JobStatus, JobStore, ResultPointer
from service.problems import JobHasNoResult, JobNotFinished, ResultExpired, responses
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
            **responses("job_not_found", "invalid_request", "store_unavailable"),
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
                "result_expired",
                "store_unavailable",
            ),
        },
    )
    def read_result(job_id: str, request: Request) -> Response:
        """The whole result, compressed where the caller accepts gzip."""
        stored = jobs.read_result(_pointer(jobs.get(job_id)))
        headers = {"Vary": "Accept-Encoding"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(stored, media_type="application/json", headers=headers)
        return Response(gzip.decompress(stored), media_type="application/json", headers=headers)

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
            **responses("job_not_found", "job_ended", "store_unavailable"),
        },
    )
    def cancel_job(job_id: str) -> Response:
        """A queued job never starts; a running one stops within about two seconds, unless it ends first."""
        before = jobs.get(job_id).status
        job = jobs.cancel(job_id)
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
        jobs.delete(job_id)
        return Response(status_code=204)

    async def _job_after(job_id: str, seconds: float) -> Job:
        deadline = time.monotonic() + seconds
        with jobs.watch(job_id) as watch:
            while True:
                job = await run_in_threadpool(jobs.get, job_id)
                left = deadline - time.monotonic()
                if job.status.final or left <= 0:
                    return job
                await watch.changed(left)

    def _small_result(job: Job) -> bytes | None:
        if job.result is None or job.result.size > settings.max_embedded_result_bytes:
            return None
        return gzip.decompress(jobs.read_result(job.result))

    return routes


def _pointer(job: Job) -> ResultPointer:
    if job.result is not None:
        return job.result
    if job.status is JobStatus.SUCCEEDED:
        raise ResultExpired("the result is no longer kept; send the request again")
    if job.error is not None:
        raise JobHasNoResult(f"the job failed: {job.error['detail']}")
    if job.status is JobStatus.CANCELLED:
        raise JobHasNoResult("the job was cancelled; send the request again")
    raise JobNotFinished(f"the job is {job.status}; wait with GET {job_url(job.id)}?wait=60")
