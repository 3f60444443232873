"""A submission as the script that accepts it takes it, and its refusals in words."""

from __future__ import annotations

import secrets
import time
import uuid
from typing import Any

import orjson

from lig_core.errors import FieldError, InvalidRequest, LigError
from lig_core.serving.queue import names
from lig_core.serving.queue.job_errors import QueueFull, QuotaExceeded
from service.jobs.job import Limits, Submission
from service.settings import Settings

LEAST_COST_SECONDS = 0.001
"""No job is free: what is queued in one flow has an order."""


def told(owner: str, submission: Submission, settings: Settings) -> dict[str, Any]:
    """A submission as the script takes it; `fields` are those of RQ's hash, and ours."""
    request = submission.request
    # Ids in the order of their making: of computations that are level in the queue, the older one goes first.
    computation = f"{time.time_ns() // 1000:015x}{secrets.token_hex(8)}"
    cost, weight = max(submission.cost, LEAST_COST_SECONDS), names.PRIORITIES[request.priority]
    fields: dict[str, Any] = {
        "data": orjson.dumps([names.TASK, None, [request.model_dump(mode="json")], {}]).decode(),
        "origin": settings.queue,
        "description": "explain",  # not the text: RQ's tools and workers show it
        "timeout": settings.job_timeout,
        "retries_left": settings.crash_retries,
        "result_ttl": settings.result_ttl,
        "failure_ttl": settings.failure_ttl,
        "expired_ttl": settings.expired_ttl,
        "max_events": settings.max_events,
        "digest": submission.digest,
        names.MODEL: request.model,
        names.REFERENCE: orjson.dumps(submission.reference.as_dict()).decode() if submission.reference else None,
        names.IDENTITY: submission.identity,
        "dtype": request.dtype,
        "cost": repr(cost),
        "work": submission.work,
        names.TRACEPARENT: submission.traceparent,
        "flow": f"{owner}:{request.priority}",
        "weight": weight,
    }
    return {
        "job": uuid.uuid4().hex,
        "computation": computation,
        "digest": submission.digest,
        "identity": submission.identity,
        "cost": cost,
        "priority": request.priority,
        "weight": weight,
        "fresh": submission.fresh,
        "webhook": submission.webhook,
        "traceparent": submission.traceparent,
        "fields": [text for name, value in fields.items() if value is not None for text in (name, str(value))],
    }


def refusal(gate: str, seconds: float, asked: int, limits: Limits) -> LigError:
    """Why `asked` jobs at once are not accepted; `seconds` until they may come back, below 0 if never."""
    if seconds < 0:
        # No wait would help, and 429 asks to wait.
        detail = (
            f"{asked} jobs at once, but this key may have {limits.concurrency} unfinished ones; send fewer at a time"
        )
        return InvalidRequest(detail, errors=[FieldError("/texts", detail)])
    again = f"come back in {seconds:.0f} s, when there will be room"
    if gate == "queue":
        return QueueFull(f"more work waits than is taken on; {again}", retry_after=seconds)
    if gate == "rate":
        return QuotaExceeded(f"this key asked for more work than its rate allows; {again}", retry_after=seconds)
    return QuotaExceeded(f"this key has {limits.concurrency} unfinished jobs; {again}", retry_after=seconds)
