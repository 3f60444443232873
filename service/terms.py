"""What the headers of a submission ask for, apart from the work itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request

from service.idempotency import LONGEST_KEY, read_key
from service.prefer import wait_seconds

HEADERS: list[dict[str, Any]] = [
    {
        "in": "header",
        "name": "Prefer",
        "required": False,
        "schema": {"type": "string"},
        "example": "wait=10",
        "description": "`wait=n` (RFC 7240): answer as soon as the job has ended, or after n seconds.",
    },
    {
        "in": "header",
        "name": "Idempotency-Key",
        "required": False,
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
        "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
        "description": "The same key with the same body queues nothing again: the first answer's job is told, as it "
        "now stands, with `Idempotent-Replayed: true`.",
    },
    {
        "in": "header",
        "name": "Cache-Control",
        "required": False,
        "schema": {"type": "string"},
        "example": "no-cache",
        "description": "`no-cache`: run it although the same was or is being run.",
    },
]
"""For the description."""


@dataclass(frozen=True)
class Terms:
    """`wait` is in seconds, None where it was not asked for; `idempotency` as `JobStore.submit` takes it."""

    wait: int | None
    fresh: bool
    idempotency: tuple[str, str] | None
    traceparent: str


def read_terms(request: Request, path: str, body: Any) -> Terms:
    """The terms of a submission to a route, its `path` without the version; raises InvalidRequest."""
    headers = request.headers
    directives = ",".join(headers.getlist("cache-control")).lower().split(",")
    return Terms(
        wait=wait_seconds(headers.getlist("prefer")),
        fresh="no-cache" in (directive.strip() for directive in directives),
        idempotency=read_key(headers.getlist("idempotency-key"), path, body),
        traceparent=request.state.traceparent,
    )
