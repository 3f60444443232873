"""A job as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from lig_core.contract import ExplainResult, Progress
from service.jobs import Job, JobStatus
from service.problems import Problem, describe


class JobLinks(BaseModel):
    """Where to go from here."""

    self: str
    result: str | None = Field(None, description="Set once the job succeeded.")


class JobResource(BaseModel):
    """A job: how it stands, and its result or its problem once it ended."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "5f2b8f0c6c1f4a5f8f3a1d2c3b4a5968",
                "status": "running",
                "created_at": "2026-01-01T12:00:00.000000Z",
                "started_at": "2026-01-01T12:00:00.120000Z",
                "finished_at": None,
                "queue_position": None,
                "attempts": 1,
                "cancel_requested": False,
                "progress": {"phase": "computing", "done": 3, "total": 24, "unit": "maps"},
                "links": {"self": "/v1/jobs/5f2b8f0c6c1f4a5f8f3a1d2c3b4a5968", "result": None},
            }
        }
    )

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None = Field(description="Jobs ahead of this one; null once it started.")
    attempts: int = Field(description="How often it was started; more than once where a worker died.")
    cancel_requested: bool = Field(description="Whether its end was asked for; a running job stops a moment after.")
    progress: Progress
    links: JobLinks
    result: ExplainResult | None = Field(
        None,
        description="Present once succeeded, unless it is large or `embed=false`; then see `links.result`.",
    )
    problem: Problem | None = Field(None, description="Present once failed.")


def job_url(job_id: str) -> str:
    """The path of a job."""
    return f"/v1/jobs/{job_id}"


def job_json(job: Job, *, result: bytes | None = None) -> bytes:
    """A JobResource as JSON; `result` is the result's own JSON, taken over without being parsed."""
    url = job_url(job.id)
    shown: dict[str, Any] = {
        "id": job.id,
        "status": job.status,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "queue_position": job.queue_position,
        "attempts": job.attempts,
        "cancel_requested": job.cancel_requested,
        "progress": job.progress.model_dump(),
        "links": {"self": url, "result": f"{url}/result" if job.result_size is not None else None},
    }
    if result is not None:
        shown["result"] = orjson.Fragment(result)
    if job.error is not None:
        shown["problem"] = describe(job.error, instance=url, job_id=job.id)
    return orjson.dumps(shown, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC)
