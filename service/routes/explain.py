"""POST /explain and POST /experiments: check a request and queue it as one job, or answer with what is stored."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from service.http.prefix import root_of
from service.http.problems import responses
from service.jobs.job import Accepted, JobStore
from service.jobs.resource import JobResource, job_json, job_url, server_timing
from service.jobs.stored_result import small_result
from service.jobs.waiting import wait_for_end
from service.keys import guard
from service.keys.keyring import Caller
from service.lifecycle import Lifecycle
from service.openapi.words import (
    APPLIED,
    EXPERIMENT_BODY,
    EXPLAIN_BODY,
    LOCATION,
    REPLAYED,
    RETRY_AFTER,
    SERVER_TIMING,
)
from service.settings import Settings
from service.submit.body import read_json
from service.submit.headers import HEADERS, SubmitHeaders, read_headers
from service.submit.intake import Intake
from service.submit.pace import Pace

PATH = "/explain"
ENDED = {
    "model": JobResource,
    "description": "The job has ended: within the preferred wait, or because the same work had been done before. Its "
    "result is in the answer where it is small, as in `GET /jobs/{job_id}`.",
    "headers": {**LOCATION, **SERVER_TIMING, **APPLIED, **REPLAYED},
}
ACCEPTED = {
    "model": JobResource,
    "description": "Queued. Follow `Location`; `?wait=60` there answers as soon as the job ends.",
    "headers": {**LOCATION, **RETRY_AFTER, **APPLIED, **REPLAYED},
}
CHECKS = (
    "malformed_json",
    "body_too_large",
    "unsupported_media_type",
    "result_too_large",
    "invalid_request",
    "text_too_long",
    "model_not_found",
    "model_not_allowed",
    "store_unavailable",
)
"""Refusals that any request may meet."""
QUEUEING = ("idempotency_mismatch", "quota_exceeded", "queue_full", "draining", "evicting_redis", "unfit_redis")
"""Refusals that one to be queued may meet beside them."""
ANSWERS: dict[int | str, dict[str, Any]] = {200: ENDED, 202: ACCEPTED, **responses(*CHECKS, *QUEUEING)}
Accept = Callable[[Caller, Any, SubmitHeaders], Accepted]


def router(
    settings: Settings, jobs: JobStore, intake: Intake, pace: Pace, lifecycle: Lifecycle, check: guard.Check
) -> APIRouter:
    """The routes that accept one job."""
    routes = APIRouter(tags=["explain"], route_class=guard.plain_route(check))

    @routes.post(
        PATH,
        status_code=202,
        summary="Explain a text",
        responses=ANSWERS,
        openapi_extra={"requestBody": EXPLAIN_BODY, "parameters": HEADERS},
    )
    async def explain(request: Request) -> Response:
        """Checks the request against the model and queues it. Work that cannot be done is refused here.

        The same work is done once: a job for what runs already joins it, and a stored result is the answer.
        """
        return await answer(intake.accept, request)

    @routes.post(
        "/experiments",
        status_code=202,
        summary="Measure pairs of baselines on some sentences",
        responses=ANSWERS,
        openapi_extra={"requestBody": EXPERIMENT_BODY, "parameters": HEADERS},
    )
    async def experiment(request: Request) -> Response:
        """Some sentences of a corpus, measured together: of every layer and target, how far the composed map of each
        pair of baselines is from the layer map. What is kept are these numbers, not the maps. `lig experiment --server`
        sends a corpus as many of these, and makes tables and plots of their results."""
        return await answer(intake.accept_experiment, request)

    async def answer(accept: Accept, request: Request) -> Response:
        caller, root, body = await guard.caller(request), root_of(request), await read_json(request)
        sent = read_headers(request, body)

        def accepted() -> tuple[Accepted, float]:
            """All that blocks, in one go: the job, and the seconds until it is likely to end."""
            made = accept(caller, body, sent)
            return made, pace.seconds_until_done(made.jobs[0])

        made, seconds = await run_in_threadpool(accepted)
        (job,) = made.jobs
        request.state.job_id = job.id  # the line about the request leads from the job to its trace
        headers = {"Location": job_url(job.id, root)}
        if made.replayed:
            headers["Idempotent-Replayed"] = "true"
        if sent.wait is not None:
            wait = min(sent.wait, math.floor(settings.max_wait))
            headers["Preference-Applied"] = f"wait={wait}"
            job = await wait_for_end(jobs, lifecycle, caller.name, job, wait)
            seconds -= wait
        if job.status.final:
            result = await run_in_threadpool(small_result, jobs, job, settings.max_embedded_result_bytes)
            headers |= server_timing(job)
            return Response(job_json(job, root, result=result), media_type="application/json", headers=headers)
        headers["Retry-After"] = str(max(1, math.ceil(seconds)))
        return Response(job_json(job, root), status_code=202, media_type="application/json", headers=headers)

    return routes
