"""The meaning of an answer of the service: its JSON, its bytes, or its problem."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from lig_core.client.shapes import Job
from lig_core.errors import LigError, ServiceError

PROBLEM = "application/problem+json"
UNREACHED = frozenset({502, 503, 504})
"""What proxies answer then, in a form of their own."""


class ServiceUnreachable(LigError):
    """No service answers at the address."""

    code = "service_unreachable"
    title = "The service cannot be reached"
    retryable = True


def media_type(response: httpx.Response) -> str:
    """The type of an answer's body, without parameters."""
    content_type: str = response.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower()


def read_json(response: httpx.Response) -> Any:
    """The body as JSON; raises ServiceError where something else than the service answered."""
    if media_type(response) != "application/json":
        raise foreign(response)
    return orjson.loads(response.content)


def problem_of(response: httpx.Response) -> ServiceError:
    """The error that a refusal stands for."""
    if media_type(response) != PROBLEM:
        return foreign(response)
    problem: dict[str, Any] = orjson.loads(response.content)
    return ServiceError(problem)


def foreign(response: httpx.Response) -> ServiceError:
    """The error for an answer that no LIG service gives: a proxy's, or another server's on this port."""
    kind = media_type(response) or "nothing"
    return ServiceError(
        {
            "code": "not_a_lig_service",
            "status": response.status_code,
            "detail": f"{response.url} answered {response.status_code} with {kind}; is it a LIG service?",
        }
    )


def is_of_a_proxy(response: httpx.Response) -> bool:
    """True if a proxy answered for a service that it did not reach, or not in time."""
    return response.status_code in UNREACHED and media_type(response) != PROBLEM


def require_success(job: Job) -> None:
    """Raise ServiceError, with the job's own problem where it has one, unless the job succeeded."""
    if job["status"] != "succeeded":
        silent = {"code": job["status"], "detail": f"the job was {job['status']}"}
        raise ServiceError(job.get("problem") or silent)


def is_final(job: Job) -> bool:
    """True if a job will never change again."""
    return job["status"] not in {"queued", "running"}
