"""Every error as `application/problem+json` (RFC 9457), and the one table of statuses."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from lig_core.errors import FieldError, InvalidRequest, LigError
from service.http.errors import MethodNotAllowed, NotFound, RequestTimeout, Unauthorized
from service.http.prefix import root_of

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "malformed_http": 400,
    "malformed_json": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "job_not_found": 404,
    "unknown_model": 404,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "request_timeout": 408,
    "job_not_finished": 409,
    "job_has_no_result": 409,
    "job_has_no_maps": 409,
    "job_ended": 409,
    "cancelled": 409,
    "not_comparable": 409,
    "result_expired": 410,
    "job_expired": 410,
    "body_too_large": 413,
    "result_too_large": 413,
    "unsupported_media_type": 415,
    "wrong_host": 421,
    "invalid_request": 422,
    "text_too_long": 422,
    "unsupported_map": 422,
    "idempotency_mismatch": 422,
    "model_not_allowed": 422,
    "model_not_found": 422,
    "unsupported_model": 422,
    "not_converged": 422,
    "quota_exceeded": 429,
    "head_too_large": 431,
    "internal_error": 500,
    "crashed": 500,
    "job_not_allowed": 500,
    "job_damaged": 500,
    "draining": 503,
    "out_of_memory": 503,
    "store_unavailable": 503,
    "evicting_redis": 503,
    "unfit_redis": 503,
    "queue_full": 503,
    "not_ready": 503,
    "too_many_connections": 503,
    "model_changed": 503,
    "job_timed_out": 504,
}
"""HTTP status of every error code, the worker's included."""


class ProblemField(BaseModel):
    """One fault in a request."""

    pointer: str = Field(description="RFC 6901 pointer into the body, or `/query/<name>`.", examples=["/layers"])
    detail: str = Field(description="What is wrong and what to do.")


class Problem(BaseModel):
    """An error, as RFC 9457 lays it out, with members of this service's own."""

    type: str = Field(examples=["urn:lig:problem:invalid_request"])
    title: str
    status: int
    detail: str = Field(description="What was asked, what is allowed, what to do.")
    instance: str = Field(description="The path the problem is about.")
    code: str = Field(description="Stable name of the error; never changes its meaning.")
    request_id: str | None = None
    job_id: str | None = None
    errors: list[ProblemField] = []
    retryable: bool = Field(description="Whether the same request may succeed later.")


def describe(error: Mapping[str, Any], *, instance: str, **members: str) -> dict[str, Any]:
    """The problem document of an error given as `LigError.as_dict()` data; `members` are added as they are."""
    code = error["code"]
    return {
        "type": f"urn:lig:problem:{code}",
        "title": error["title"],
        "status": STATUS.get(code, 500),
        "detail": error["detail"],
        "instance": instance,
        "code": code,
        **members,
        "errors": error["errors"],
        "retryable": error["retryable"],
    }


def problem_response(
    error: LigError, *, path: str, request_id: str, headers: Mapping[str, str] | None = None
) -> Response:
    """The error as a response, with `Retry-After` and `WWW-Authenticate` where they belong."""
    problem = describe(error.as_dict(), instance=path, request_id=request_id)
    return Response(
        orjson.dumps(problem),
        status_code=problem["status"],
        media_type=MEDIA_TYPE,
        headers={"X-Request-Id": request_id, **_advice(error), **(headers or {})},
    )


def _advice(error: LigError) -> dict[str, str]:
    """Headers that tell a client what to do next."""
    if isinstance(error, Unauthorized):
        return {"WWW-Authenticate": "Bearer"}
    if error.retry_after is not None:
        return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.retryable else {}


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems a route may answer with, one per status."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(STATUS[code], []).append(code)
    return {
        status: {
            "description": f"Problem: {', '.join(f'`{code}`' for code in names)}.",
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, names in sorted(by_status.items())
    }


def install(app: FastAPI) -> None:
    """Answer every error that a handler raises, FastAPI's and Starlette's own included, with a problem."""

    def answer(request: Request, error: LigError, headers: Mapping[str, str] | None = None) -> Response:
        return problem_response(error, path=request.url.path, request_id=request.state.request_id, headers=headers)

    @app.exception_handler(LigError)
    def known(request: Request, error: LigError) -> Response:
        if error.__cause__ is not None:
            cause = error.__cause__  # whose repr() may leave out its words, as that of redis-py's errors does
            log.warning("request %s: %s: %s: %s", request.state.request_id, error.code, type(cause).__name__, cause)
        return answer(request, error)

    @app.exception_handler(ClientDisconnect)
    def left(request: Request, error: ClientDisconnect) -> Response:
        # Nobody reads it; the line about the request has its status.
        return answer(request, RequestTimeout("the body of the request did not arrive"))

    @app.exception_handler(RequestValidationError)
    def invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        faults = [FieldError("/" + "/".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        detail = "; ".join(f"{fault.pointer}: {fault.detail}" for fault in faults)
        return answer(request, InvalidRequest(detail, errors=faults))

    @app.exception_handler(HTTPException)
    def routing(request: Request, error: HTTPException) -> Response:
        headers = {"Allow": ", ".join(_allowed(request))} if error.status_code == 405 else error.headers
        return answer(request, _routing_error(request, error), headers)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> Response:
        # Starlette raises the exception again after this answer, so that the server logs its traceback.
        return answer(request, LigError("an unexpected fault in the service; its log names this request_id"))


def _routing_error(request: Request, error: HTTPException) -> LigError:
    path = request.url.path
    if error.status_code == 404:
        return NotFound(f"no route {path}; see {root_of(request)}/docs for the routes there are")
    if error.status_code == 405:
        return MethodNotAllowed(f"{path} does not take {request.method}; it takes {', '.join(_allowed(request))}")
    return LigError(f"{error.status_code}: {error.detail}")


def _allowed(request: Request) -> list[str]:
    """The methods that any route takes at this path; Starlette's own header has those of the first route alone."""

    def taken(method: str) -> bool:
        scope = {**request.scope, "method": "GET" if method == "HEAD" else method}  # see HeadAsGet
        return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)

    return [method for method in METHODS if taken(method)]
