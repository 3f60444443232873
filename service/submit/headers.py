"""The headers of a submission: what they ask for, apart from the work itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import Request

from lig_core.errors import FieldError, InvalidRequest

LONGEST_KEY = 255
_WAIT = re.compile(r"wait\s*=\s*(?:(\d+)|\"(\d+)\")\s*(?:;.*)?", re.IGNORECASE)

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
class SubmitHeaders:
    """`wait` is in seconds, None where it was not asked for; `idempotency` as `JobStore.submit` takes it."""

    wait: int | None
    fresh: bool
    idempotency: tuple[str, str] | None
    traceparent: str


def read_headers(request: Request, body: Any) -> SubmitHeaders:
    """The headers of a submission with this body; raises InvalidRequest."""
    headers = request.headers
    directives = ",".join(headers.getlist("cache-control")).lower().split(",")
    return SubmitHeaders(
        wait=wait_seconds(headers.getlist("prefer")),
        fresh="no-cache" in (directive.strip() for directive in directives),
        idempotency=read_key(headers.getlist("idempotency-key"), body),
        traceparent=request.state.traceparent,
    )


def wait_seconds(headers: Sequence[str]) -> int | None:
    """The seconds of the first `wait=n` in these `Prefer` headers; None without one. What is not understood is ignored.

    >>> wait_seconds(["respond-async, wait=10"])
    10
    """
    for preference in ",".join(headers).split(","):
        match = _WAIT.fullmatch(preference.strip())
        if match is not None:
            return int(match[1] or match[2])
    return None


def read_key(headers: Sequence[str], body: Any) -> tuple[str, str] | None:
    """The key and the `request_digest` of what was sent with it: a body that one of the routes alone takes.

    Raises InvalidRequest.
    """
    if not headers:
        return None
    (key,) = headers if len(headers) == 1 else ("",)
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        detail = f"send one Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters, such as a UUID"
        raise InvalidRequest(f"Idempotency-Key: {detail}", errors=[FieldError("/header/idempotency-key", detail)])
    request_digest = hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
    return key, request_digest
