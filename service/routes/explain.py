"""POST /explain: check a request and queue it."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from lig_core.contract import ExplainRequest, parse_request
from service.jobs import JobStore
from service.lifecycle import Lifecycle
from service.preflight import Preflight
from service.problems import MalformedJson, WrongMediaType, responses
from service.representation import JobResource, job_json, job_url

REQUEST_BODY = {
    "required": True,
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ExplainRequest"}}},
}
ACCEPTED = {
    "model": JobResource,
    "description": "Queued. Follow `Location`; `?wait=60` there answers as soon as the job ends.",
    "headers": {
        "Location": {"schema": {"type": "string"}, "description": "The job."},
        "Retry-After": {
            "schema": {"type": "integer"},
            "description": "Seconds until it makes sense to look.",
        },
    },
}
PROBLEMS = responses(
    "malformed_json",
    "body_too_large",
    "unsupported_media_type",
    "result_too_large",
    "invalid_request",
    "text_too_long",
    "model_not_found",
    "model_not_allowed",
    "draining",
    "store_unavailable",
)


def router(jobs: JobStore, preflight: Preflight, lifecycle: Lifecycle) -> APIRouter:
    """The route that accepts work."""
    routes = APIRouter(tags=["explain"])

    @routes.post(
        "/explain",
        status_code=202,
        summary="Explain a text",
        responses={202: ACCEPTED, **PROBLEMS},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    def explain(request: Annotated[ExplainRequest, Depends(read_request)]) -> Response:
        """Check the request against the model and queue it. Work that cannot be done is refused here."""
        lifecycle.refuse_while_draining()
        preflight.check(request)
        job = jobs.submit(request)
        return Response(
            job_json(job),
            status_code=202,
            media_type="application/json",
            headers={"Location": job_url(job.id), "Retry-After": "1"},
        )

    return routes


async def read_request(request: Request) -> ExplainRequest:
    """The request in a body; raises WrongMediaType, MalformedJson or InvalidRequest."""
    # Read by hand: FastAPI answers malformed JSON and a wrong media type with 422, and they are 400 and 415.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongMediaType(f"got '{media_type or 'no Content-Type'}'; send Content-Type: application/json")
    try:
        data = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MalformedJson(f'{error}; send an object such as {{"text": "The cat sat on the mat."}}') from None
    return parse_request(data)
