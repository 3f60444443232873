"""POST /explain/batch: many texts, one set of options; each text becomes a job of one group."""

from __future__ import annotations

import math
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from service.http.prefix import Root
from service.http.problems import responses
from service.jobs.resource import JobResource, job_json
from service.keys.guard import CurrentCaller
from service.openapi.examples import EXAMPLES, GROUP
from service.openapi.words import BATCH_BODY, JOBS_LOCATION, REPLAYED, RETRY_AFTER
from service.routes.explain import CHECKS, QUEUEING
from service.submit.body import read_json
from service.submit.headers import HEADERS, read_headers
from service.submit.intake import Intake
from service.submit.pace import Pace

PATH = "/explain/batch"
PROBLEMS = responses(*CHECKS, *QUEUEING)


class BatchResource(BaseModel):
    """The jobs that a batch became."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"group": GROUP, "jobs": [{**EXAMPLES["job"], "group": GROUP}]}}
    )

    group: str = Field(description="The id that the jobs have in common.")
    jobs: list[JobResource] = Field(description="In the order of the texts.")


def router(intake: Intake, pace: Pace) -> APIRouter:
    """The route that accepts many texts."""
    routes = APIRouter(tags=["explain"])

    @routes.post(
        PATH,
        status_code=202,
        summary="Explain many texts",
        responses={
            202: {
                "model": BatchResource,
                "description": "All are queued, or done where the same work had been done before.",
                "headers": {**JOBS_LOCATION, **RETRY_AFTER, **REPLAYED},
            },
            **PROBLEMS,
        },
        openapi_extra={"requestBody": BATCH_BODY, "parameters": HEADERS[1:]},
    )
    async def explain_batch(
        request: Request, caller: CurrentCaller, root: Root, body: Annotated[Any, Depends(read_json)]
    ) -> Response:
        """Accepts all texts or none; what is wrong with one is told with a pointer such as `/texts/3`."""
        sent = read_headers(request, body)
        accepted = await run_in_threadpool(intake.accept_batch, caller, body, sent)
        unfinished = [job for job in accepted.jobs if not job.status.final]
        seconds = await run_in_threadpool(pace.seconds_until_done, unfinished[-1]) if unfinished else 0.0
        headers = {"Location": f"{root}/v1/jobs?group={accepted.group}", "Retry-After": str(max(1, math.ceil(seconds)))}
        if accepted.replayed:
            headers["Idempotent-Replayed"] = "true"
        shown = {"group": accepted.group, "jobs": [orjson.Fragment(job_json(job, root)) for job in accepted.jobs]}
        return Response(orjson.dumps(shown), status_code=202, media_type="application/json", headers=headers)

    return routes
