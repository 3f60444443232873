"""POST /explain/estimate: what a request would cost, without queueing it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from lig_core.contract import ExplainRequest
from service.estimate import Estimate
from service.preflight import Preflight
from service.routes.explain import PROBLEMS, REQUEST_BODY, read_request


def router(preflight: Preflight) -> APIRouter:
    """The dry run."""
    routes = APIRouter(tags=["explain"])

    @routes.post(
        "/explain/estimate",
        summary="What a request would cost",
        response_description="The estimate. Nothing was queued.",
        responses=PROBLEMS,
        openapi_extra={"requestBody": REQUEST_BODY},
    )
    def estimate(request: Annotated[ExplainRequest, Depends(read_request)]) -> Estimate:
        """The checks of `POST /explain`, and then what it would take: tokens, work, memory, bytes, seconds."""
        return preflight.check(request)

    return routes
