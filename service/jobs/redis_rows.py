"""What lies in Redis of jobs and events, as the service's own types."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rq.job import JobStatus as RqStatus

from lig_core.contract import ExplainRequest, Progress
from lig_core.errors import InvalidRequest, LigError
from lig_core.serving.queue import names
from lig_core.serving.queue.job_errors import JobDamaged
from service.jobs.job import Event, Job, JobStatus, StoredLayer, StoredPart, Timings

STATUS = {
    RqStatus.STARTED.value: JobStatus.RUNNING,
    RqStatus.FINISHED.value: JobStatus.SUCCEEDED,
    RqStatus.FAILED.value: JobStatus.FAILED,
    RqStatus.CANCELED.value: JobStatus.CANCELLED,
}
"""RQ's other states are all ways of waiting."""

WAITING = Progress(phase="queued", done=0, total=0)

Seen = tuple[str, dict[str, str], dict[str, str], int | None]
"""Of a job: its id, its hash, its computation's hash, its place in the queue."""


def seen(job_ids: Iterable[str], looked: Any) -> Iterator[Seen]:
    """What the script `look` found of these jobs; where there is none, the hash is empty."""
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
    cancelled = own.get("cancelled_at")
    status = JobStatus.CANCELLED if cancelled else STATUS.get(shared["status"], JobStatus.QUEUED)
    ended = cancelled or (shared.get("ended") if status.final else None)
    layers = sorted(
        (StoredLayer(**json.loads(text)) for name, text in shared.items() if name.startswith(names.LAYER)),
        key=lambda layer: layer.index,
    )
    (request,) = json.loads(shared["data"])[2]
    return Job(
        id=job_id,
        owner=own["owner"],
        computation=own["computation"],
        request=ExplainRequest.model_construct(**request),  # checked when it was accepted
        digest=shared["digest"],
        cost=float(shared["cost"]),
        status=status,
        created_at=_time(own["created_at"]),
        started_at=_time(shared["started"]) if "started" in shared and status is not JobStatus.QUEUED else None,
        finished_at=_time(ended) if ended else None,
        queue_position=position if status is JobStatus.QUEUED else None,
        attempts=int(shared.get(names.ATTEMPTS, 0)),
        cancel_requested=bool(cancelled) or names.CANCEL in shared,
        progress=_progress(status, shared, len(layers)),
        error=_error(shared) if status is JobStatus.FAILED else None,
        head=StoredPart(**json.loads(shared[names.HEAD])) if names.HEAD in shared else None,
        layers=tuple(layers),
        coalesced="coalesced" in own,
        group=own.get("group"),
        webhook=own.get("webhook"),
        traceparent=own.get("traceparent"),
        timings=Timings(*(number(shared.get(name)) for name in ("wait_seconds", "load_seconds", "compute_seconds"))),
        cancelled_after=own.get("cancelled_after"),
    )


def as_events(found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> Iterator[Event]:
    """The entries of a stream; those that no worker wrote are left out."""
    for event_id, fields in found:
        with contextlib.suppress(KeyError, ValueError):
            data = json.loads(fields.get(b"data", b"{}"))
            if isinstance(data, dict):
                yield Event(event_id.decode(), fields[b"kind"].decode(), data)


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
    stored = shared.get(names.PROGRESS)
    return Progress.model_validate_json(stored) if stored else WAITING


def _error(shared: Mapping[str, str]) -> dict[str, Any]:
    silent = LigError("the job failed without saying why; the worker's log has the details")
    error: dict[str, Any] = json.loads(shared[names.ERROR]) if names.ERROR in shared else silent.as_dict()
    return error


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


def number(text: str | bytes | None) -> float | None:
    """A number as Redis holds it; None where there is none."""
    with contextlib.suppress(TypeError, ValueError):
        found = float(text)  # type: ignore[arg-type]
        return found if math.isfinite(found) else None
    return None


def _mapping(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [text.decode(errors="replace") for text in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))
