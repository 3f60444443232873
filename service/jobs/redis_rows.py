"""Jobs and events as they lie in Redis, and as the service's own types: each way, and refusals in words."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
import secrets
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
from rq.job import JobStatus as RqStatus

from lig_core.contract import Progress
from lig_core.errors import FieldError, InvalidRequest, LigError
from lig_core.kinds import KINDS
from lig_core.serving.queue import names
from lig_core.serving.queue.job_errors import JobDamaged, QueueFull, QuotaExceeded
from lig_core.serving.queue.names import Field
from service.jobs.job import Event, Job, JobStatus, Limits, StoredLayer, StoredPart, Submission, Timings
from service.settings import Settings

STATUS = {
    RqStatus.STARTED.value: JobStatus.RUNNING,
    RqStatus.FINISHED.value: JobStatus.SUCCEEDED,
    RqStatus.FAILED.value: JobStatus.FAILED,
    RqStatus.CANCELED.value: JobStatus.CANCELLED,
}
"""RQ's other states are all ways of waiting."""

WAITING = Progress(phase="queued", done=0, total=0)
TIMINGS = (Field.WAIT_SECONDS, Field.LOAD_SECONDS, Field.COMPUTE_SECONDS)

LEAST_COST_SECONDS = 0.001
"""No job is free: what is queued in one flow has an order."""

Row = tuple[str, dict[str, str], dict[str, str], int | None]
"""Of a job: its id, its hash, its computation's hash, its place in the queue."""


def as_argument(owner: str, submission: Submission, settings: Settings) -> dict[str, Any]:
    """A submission as the script `admit` takes it; `fields` are those of the computation's hash."""
    request = submission.request
    # Ids in the order of their making: of computations that are level in the queue, the older one goes first.
    computation = f"{time.time_ns() // 1000:015x}{secrets.token_hex(8)}"
    cost, weight = max(submission.cost, LEAST_COST_SECONDS), names.PRIORITIES[request.priority]
    fields: dict[str, Any] = {
        Field.DATA: orjson.dumps([names.TASKS[request.kind], None, [request.model_dump(mode="json")], {}]).decode(),
        Field.ORIGIN: settings.queue,
        Field.DESCRIPTION: request.kind,  # not the text: RQ's tools and workers show it
        Field.TIMEOUT: settings.job_timeout,
        Field.RETRIES_LEFT: settings.crash_retries,
        Field.RESULT_TTL: settings.result_ttl,
        Field.FAILURE_TTL: settings.failure_ttl,
        Field.EXPIRED_TTL: settings.expired_ttl,
        Field.MAX_EVENTS: settings.max_events,
        Field.DIGEST: submission.work_digest,
        Field.MODEL: request.model,
        Field.REFERENCE: orjson.dumps(submission.reference.as_dict()).decode() if submission.reference else None,
        Field.IDENTITY: submission.identity,
        Field.DTYPE: request.dtype,
        Field.COST: repr(cost),
        Field.WORK: submission.work,
        Field.SHARES: submission.shares,
        Field.TOKENS: submission.tokens if submission.shares else None,
        Field.TRACEPARENT: submission.traceparent,
        Field.FLOW: f"{owner}:{request.priority}",
        Field.WEIGHT: weight,
    }
    return {
        "job": uuid.uuid4().hex,
        "computation": computation,
        "digest": submission.work_digest,
        "identity": submission.identity,
        "cost": cost,
        "priority": request.priority,
        "weight": weight,
        "fresh": submission.fresh,
        "webhook": submission.webhook,
        "traceparent": submission.traceparent,
        "fields": [text for name, value in fields.items() if value is not None for text in (name, str(value))],
    }


def rows_of(job_ids: Iterable[str], looked: Any) -> Iterator[Row]:
    """The rows of these jobs, from the answer of the script `look`; where there is none, the hash is empty."""
    for job_id, (own, shared, position) in zip(job_ids, looked, strict=True):
        yield job_id, _mapping(own), _mapping(shared), position


def as_job(job_id: str, own: Mapping[str, str], shared: Mapping[str, str], position: int | None) -> Job:
    """A job from its own hash and its computation's; raises JobDamaged."""
    try:
        return _job(job_id, own, shared, position)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, OSError) as error:
        detail = f"what is stored of job '{job_id}' is not what was put there; delete it and send the request again"
        raise JobDamaged(detail) from error


def _job(job_id: str, own: Mapping[str, str], shared: Mapping[str, str], position: int | None) -> Job:
    cancelled = own.get(Field.CANCELLED_AT)
    status = JobStatus.CANCELLED if cancelled else STATUS.get(shared[Field.STATUS], JobStatus.QUEUED)
    ended = cancelled or (shared.get(Field.ENDED) if status.final else None)
    layers = sorted(
        (StoredLayer(**json.loads(text)) for name, text in shared.items() if name.startswith(Field.LAYER)),
        key=lambda layer: layer.index,
    )
    task, _, (request,), _ = json.loads(shared[Field.DATA])
    return Job(
        id=job_id,
        owner=own[Field.OWNER],
        computation=own[Field.COMPUTATION],
        request=KINDS[names.KIND_OF[task]].stored(**request),
        work_digest=shared[Field.DIGEST],
        cost=float(shared[Field.COST]),
        status=status,
        created_at=_time(own[Field.CREATED_AT]),
        started_at=_time(shared[Field.STARTED]) if Field.STARTED in shared and status is not JobStatus.QUEUED else None,
        finished_at=_time(ended) if ended else None,
        queue_position=position if status is JobStatus.QUEUED else None,
        attempts=int(shared.get(Field.ATTEMPTS, 0)),
        cancel_requested=bool(cancelled) or Field.CANCEL_REQUESTED in shared,
        progress=_progress(status, shared, len(layers)),
        error=_error(shared) if status is JobStatus.FAILED else None,
        head=StoredPart(**json.loads(shared[Field.HEAD])) if Field.HEAD in shared else None,
        layers=tuple(layers),
        coalesced=Field.COALESCED in own,
        group=own.get(Field.GROUP),
        webhook=own.get(Field.WEBHOOK),
        traceparent=own.get(Field.TRACEPARENT),
        timings=Timings(*(number(shared.get(name)) for name in TIMINGS)),
        cancelled_after=own.get(Field.CANCELLED_AFTER),
    )


def refusal(gate: str, seconds: float, jobs: int, limits: Limits) -> LigError:
    """The reason that `jobs` at once are not accepted; `seconds` until they may come back, below 0 if never."""
    if seconds < 0:
        # No wait would help, and 429 asks to wait.
        detail = (
            f"{jobs} jobs at once, but this key may have {limits.concurrency} unfinished ones; send fewer at a time"
        )
        return InvalidRequest(detail, errors=[FieldError("/texts", detail)])
    again = f"come back in {seconds:.0f} s, when there will be room"
    if gate == "queue":
        return QueueFull(f"more work waits than is taken on; {again}", retry_after=seconds)
    if gate == "rate":
        return QuotaExceeded(f"this key asked for more work than its rate allows; {again}", retry_after=seconds)
    return QuotaExceeded(f"this key has {limits.concurrency} unfinished jobs; {again}", retry_after=seconds)


def as_events(entries: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> Iterator[Event]:
    """The entries of a stream; those that no worker wrote are left out."""
    for event_id, fields in entries:
        with contextlib.suppress(KeyError, ValueError):
            data = json.loads(fields.get(Field.DATA.encode(), b"{}"))
            if isinstance(data, dict):
                yield Event(event_id.decode(), fields[Field.KIND.encode()].decode(), data)


def as_cursor(at: tuple[float, str] | None) -> str | None:
    """A place in a list, by score and job, for the client to come back with."""
    return None if at is None else base64.urlsafe_b64encode(json.dumps(at).encode()).decode()


def from_cursor(cursor: str) -> tuple[float, str]:
    """The place that `as_cursor` wrote; raises InvalidRequest."""
    try:
        score, job_id = json.loads(base64.urlsafe_b64decode(cursor))
        return float(score), str(job_id)
    except (binascii.Error, ValueError, TypeError):
        raise InvalidRequest("/query/cursor: not a cursor of this service; leave it out to begin anew") from None


def _progress(status: JobStatus, shared: Mapping[str, str], layers: int) -> Progress:
    if status is JobStatus.SUCCEEDED:
        return Progress(phase="done", done=layers, total=layers, unit="layers")
    stored = shared.get(Field.PROGRESS)
    return Progress.model_validate_json(stored) if stored else WAITING


def _error(shared: Mapping[str, str]) -> dict[str, Any]:
    silent = LigError("the job failed without saying why; the worker's log has the details")
    error: dict[str, Any] = json.loads(shared[Field.ERROR]) if Field.ERROR in shared else silent.as_dict()
    return error


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def number(text: str | bytes | None) -> float | None:
    """A number as Redis holds it; None where there is none."""
    with contextlib.suppress(TypeError, ValueError):
        value = float(text)  # type: ignore[arg-type]
        return value if math.isfinite(value) else None
    return None


def _mapping(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [text.decode(errors="replace") for text in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
