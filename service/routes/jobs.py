"""GET /jobs and GET /jobs/{id}; cancelling and forgetting a job."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from service.http.prefix import Root
from service.http.problems import responses
from service.jobs.job import JobStatus, JobStore
from service.jobs.resource import JobPage, JobResource, job_headers, job_json, page_json
from service.jobs.stored_result import small_result
from service.jobs.waiting import wait_for_end
from service.keys.guard import Owner
from service.lifecycle import Lifecycle
from service.openapi.words import JOB_HEADERS, NEXT_PAGE, Cursor, Embed, Group, JobId, Limit, Wait
from service.settings import Settings

Status = Annotated[
    JobStatus | None,
    Query(description="Only jobs that stand so; a page may then have fewer than `limit`, even none: go on by `next`."),
]


def router(settings: Settings, jobs: JobStore, lifecycle: Lifecycle) -> APIRouter:
    """The routes of jobs, their results and events aside."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs",
        summary="Your jobs",
        responses={
            200: {
                "model": JobPage,
                "description": "Some of your jobs, the newest first.",
                "headers": NEXT_PAGE,
            },
            **responses("invalid_request", "store_unavailable"),
        },
    )
    def list_jobs(
        owner: Owner, root: Root, limit: Limit = 50, cursor: Cursor = "", group: Group = "", status: Status = None
    ) -> Response:
        """The newest first, without results. A group that is not there has no jobs."""
        page = jobs.list(owner, limit=limit, cursor=cursor or None, group=group or None, status=status)
        headers = {}
        if page.next_cursor is not None:
            query = {"limit": limit, "cursor": page.next_cursor, "group": group, "status": status}
            parameters = urlencode({name: value for name, value in query.items() if value})
            headers["Link"] = f'<{root}/v1/jobs?{parameters}>; rel="next"'
        return Response(page_json(page, root), media_type="application/json", headers=headers)

    @routes.get(
        "/jobs/{job_id}",
        summary="How a job stands",
        responses={
            200: {"model": JobResource, "description": "The job.", "headers": JOB_HEADERS},
            **responses("job_not_found", "job_expired", "invalid_request", "store_unavailable"),
        },
    )
    async def read_job(owner: Owner, root: Root, job_id: JobId, wait: Wait = 0, embed: Embed = True) -> Response:
        """The job, with its result once that is there. `wait` long-polls until the job ends."""
        job = await run_in_threadpool(jobs.get, owner, job_id)
        job = await wait_for_end(jobs, lifecycle, owner, job, min(wait, settings.max_wait))
        most = settings.max_embedded_result_bytes
        result = await run_in_threadpool(small_result, jobs, job, most) if embed else None
        return Response(job_json(job, root, result=result), media_type="application/json", headers=job_headers(job))

    @routes.post(
        "/jobs/{job_id}/cancel",
        status_code=202,
        summary="Cancel a job",
        responses={
            200: {"model": JobResource, "description": "It had been cancelled before.", "headers": JOB_HEADERS},
            202: {
                "model": JobResource,
                "description": "Cancelled: it will not succeed any more, and what runs stops within seconds.",
                "headers": JOB_HEADERS,
            },
            **responses("job_not_found", "job_expired", "job_ended", "store_unavailable"),
        },
    )
    def cancel_job(owner: Owner, root: Root, job_id: JobId) -> Response:
        """A queued job never starts; a running one stops, unless another job shares its work."""
        before = jobs.get(owner, job_id).status
        job = jobs.cancel(owner, job_id)
        code = 200 if before is JobStatus.CANCELLED else 202
        return Response(job_json(job, root), status_code=code, media_type="application/json", headers=job_headers(job))

    @routes.delete(
        "/jobs/{job_id}",
        status_code=204,
        summary="Forget a job",
        responses={204: {"description": "It is gone."}, **responses("job_not_found", "store_unavailable")},
    )
    def delete_job(owner: Owner, job_id: JobId) -> Response:
        """Removes the job, its text and, unless another job shares it, its result; one that runs is cancelled."""
        jobs.delete(owner, job_id)
        return Response(status_code=204)

    return routes
