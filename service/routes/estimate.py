"""POST /explain/estimate: what a request would cost, without queueing it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from service.http.problems import responses
from service.openapi.words import EXPLAIN_BODY
from service.routes.explain import CHECKS
from service.submit.body import parse_submission, read_json
from service.submit.checks import RequestChecks
from service.submit.cost import Estimate


def router(checks: RequestChecks) -> APIRouter:
    """The dry run."""
    routes = APIRouter(tags=["explain"])

    @routes.post(
        "/explain/estimate",
        summary="What a request would cost",
        response_description="The estimate. Nothing was queued.",
        responses=responses(*CHECKS),
        openapi_extra={"requestBody": EXPLAIN_BODY},
    )
    def estimate(body: Annotated[Any, Depends(read_json)]) -> Estimate:
        """The checks of `POST /explain`, and then what it would take: tokens, work, memory, bytes, seconds."""
        return checks.check(parse_submission(body).explain_request())

    return routes
