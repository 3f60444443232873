"""POST /explain: check a request and queue it."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from lig_core.catalog import check_against_model, find_model
from lig_core.contract import ExplainRequest, parse_request
from service.digest import request_digest
from service.jobs import ANONYMOUS, JobStore, Limits, Submission
from service.model_names import refuse_paths
from service.problems import MalformedJson, WrongMediaType, responses
from service.representation import JobResource, job_json, job_url
from service.settings import Settings

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
COST_SECONDS = 1.0
PROBLEMS = responses(
    "malformed_json",
    "body_too_large",
    "unsupported_media_type",
    "invalid_request",
    "model_not_found",
    "queue_full",
    "store_unavailable",
)


def router(settings: Settings, jobs: JobStore) -> APIRouter:
    """The route that accepts work."""
    routes = APIRouter(tags=["explain"])

    @routes.post(
        "/explain",
        status_code=202,
        summary="Explain a text",
        responses={202: ACCEPTED, **PROBLEMS},
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    def explain(request: Annotated[ExplainRequest, Depends(_read)]) -> Response:
        """Check the request against the model and queue it. Work that cannot be done is refused here."""
        refuse_paths(request.model, "/model")
        card = find_model(request.model, settings.models_folder, ask_hub=settings.ask_hub)
        check_against_model(request, card)
        submission = Submission(request, request_digest(request, card), cost=COST_SECONDS)
        (job,) = jobs.submit(ANONYMOUS, [submission], limits=Limits()).jobs
        return Response(
            job_json(job),
            status_code=202,
            media_type="application/json",
            headers={"Location": job_url(job.id), "Retry-After": "1"},
        )

    return routes


async def _read(request: Request) -> ExplainRequest:
    # Read by hand: FastAPI answers malformed JSON and a wrong media type with 422, and they are 400 and 415.
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise WrongMediaType(f"got '{media_type or 'no Content-Type'}'; send Content-Type: application/json")
    try:
        data = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise MalformedJson(f'{error}; send an object such as {{"text": "The cat sat on the mat."}}') from None
    return parse_request(data)
