"""A job as the API shows it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from lig_core.contract import Progress
from lig_core.result_schema import ExperimentResult, ExplainResult
from service.http.problems import Problem, describe
from service.jobs.job import Job, JobStatus, Page
from service.openapi.examples import EXAMPLES

LONGEST_RETRY_SECONDS = 30
TEXT_CHARACTERS = 120
"""Of the explained text that stand in a job."""


class JobLinks(BaseModel):
    """Where to go from here."""

    self: str
    result: str | None = Field(None, description="Set once the job succeeded.")
    events: str = Field(description="What happens to it, as it happens: server-sent events.")
    cancel: str | None = Field(None, description="Where to POST to stop it; null once it ended.")


class JobTimings(BaseModel):
    """Where the time went, in seconds; null until known."""

    queue: float | None = Field(description="Waiting for a worker.")
    load: float | None = Field(description="Loading the model; 0 where it was in memory.")
    compute: float | None


class JobResource(BaseModel):
    """A job: how it stands, and its result or its problem once it ended."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLES["job"]})

    id: str
    status: JobStatus
    kind: Literal["explain", "experiment"] = Field(
        description="What was asked for: a text explained, or sentences measured."
    )
    model: str = Field(description="As it was asked for.")
    text: str = Field(
        description=f"The first {TEXT_CHARACTERS} characters of what is explained; of tokens, with spaces between."
    )
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None = Field(description="Jobs ahead of this one; null once it started.")
    attempts: int = Field(description="How often it was started; more than once where a worker died.")
    cancel_requested: bool = Field(description="Whether its end was asked for; a running job stops a moment after.")
    progress: Progress
    converged: bool | None = Field(description="Whether all columns of its result converged; null before it succeeded.")
    coalesced: bool = Field(description="Whether it shares the work of an earlier job that asked for the same.")
    group: str | None = Field(description="The batch that it came in: list them with `GET /v1/jobs?group=`.")
    timings: JobTimings
    links: JobLinks
    result: ExplainResult | ExperimentResult | None = Field(
        None,
        description="Present once succeeded, unless it is large or `embed=false`; then see `links.result`.",
    )
    problem: Problem | None = Field(None, description="Present once failed.")


class JobPage(BaseModel):
    """Some jobs, the newest first."""

    model_config = ConfigDict(json_schema_extra={"example": {"jobs": [EXAMPLES["job"]], "next": None}})

    jobs: list[JobResource] = Field(description="Without their results.")
    next: str | None = Field(description="The `cursor` of the next page; null on the last one.")


def job_url(job_id: str, root: str) -> str:
    """The path of a job; `root` is what the paths of all links begin with (service.http.prefix)."""
    return f"{root}/v1/jobs/{job_id}"


def job_json(job: Job, root: str, *, result: bytes | None = None) -> bytes:
    """A JobResource as JSON; `result` is the result's own JSON, taken over without being parsed."""
    return orjson.dumps(_shown(job, root, result), option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def page_json(page: Page, root: str) -> bytes:
    """A JobPage as JSON, without results."""
    shown = {"jobs": [_shown(job, root) for job in page.jobs], "next": page.next_cursor}
    return orjson.dumps(shown, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)


def job_headers(job: Job) -> dict[str, str]:
    """`Server-Timing` with what is known of where the time went, and `Retry-After` of a job that has not ended."""
    timing = server_timing(job)
    retry = {} if job.status.final else {"Retry-After": str(_seconds_left(job))}
    return {**timing, **retry}


def server_timing(job: Job) -> dict[str, str]:
    """The header of this name: milliseconds of waiting, loading, computing."""
    known = {name: seconds for name, seconds in vars(job.timings).items() if seconds is not None}
    timings = ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in known.items())
    return {"Server-Timing": timings} if timings else {}


def job_problem(job: Job, error: Mapping[str, Any], root: str) -> dict[str, Any]:
    """The error of a failed job, as a Problem."""
    return describe(error, instance=job_url(job.id, root), job_id=job.id)


def _shown(job: Job, root: str, result: bytes | None = None) -> dict[str, Any]:
    url = job_url(job.id, root)
    shown: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "kind": job.request.kind,
        "model": job.request.model,
        "text": _beginning(job.request.subject),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "queue_position": job.queue_position,
        "attempts": job.attempts,
        "cancel_requested": job.cancel_requested,
        "progress": job.progress.model_dump(),
        "converged": job.converged if job.status is JobStatus.SUCCEEDED else None,
        "coalesced": job.coalesced,
        "group": job.group,
        "timings": vars(job.timings),
        "links": {
            "self": url,
            "result": f"{url}/result" if job.result_size is not None else None,
            "events": f"{url}/events",
            "cancel": None if job.status.final else f"{url}/cancel",
        },
    }
    if result is not None:
        shown["result"] = orjson.Fragment(result)
    if job.error is not None:
        shown["problem"] = job_problem(job, job.error, root)
    return shown


def _beginning(subject: str | list[str]) -> str:
    return (subject if isinstance(subject, str) else " ".join(subject))[:TEXT_CHARACTERS]


def _seconds_left(job: Job) -> int:
    """Until it makes sense to look: the rest of its own estimated time, in reason."""
    share = job.progress.done / job.progress.total if job.progress.total else 0.0
    return min(LONGEST_RETRY_SECONDS, max(1, math.ceil(job.cost * (1 - share))))
