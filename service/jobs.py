"""A job as the service sees it, and what any job store must do. Knows no queue and no database."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from lig_core.contract import ExplainRequest, Progress
from lig_core.queue.durability import Durability


class JobStatus(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job will never change again."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True)
class ResultPointer:
    """Where a stored result lies, and how many bytes of JSON it is when unpacked."""

    ref: str
    size: int


@dataclass(frozen=True)
class Job:
    """One explanation asked for, as of the moment it was read."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None  # jobs ahead of it; None once it started
    attempts: int  # how often it was started
    cancel_requested: bool  # a running job stops a moment after
    progress: Progress
    result: ResultPointer | None  # set once succeeded, until it expires
    error: Mapping[str, Any] | None  # LigError.as_dict() of a failed job


class Watch(Protocol):
    """Notices changes of one job."""

    async def changed(self, seconds: float) -> None:
        """Return at once if the job may have changed since the last call, else when it does or after `seconds`."""


class JobStore(Protocol):
    """Accepts jobs and says how they stand. Methods block; all raise StoreUnavailable."""

    def submit(self, request: ExplainRequest) -> Job:
        """Queue a request that was checked before."""

    def get(self, job_id: str) -> Job:
        """The job as it stands; raises JobNotFound."""

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job, or ask for the end of a running one; raises JobNotFound, and JobEnded if too late."""

    def delete(self, job_id: str) -> None:
        """Forget a job and its result; one that runs is cancelled first. Raises JobNotFound."""

    def read_result(self, pointer: ResultPointer) -> bytes:
        """The result as gzip-compressed JSON; raises ResultExpired."""

    def live_workers(self) -> int:
        """How many workers gave a sign of life lately."""

    def durability(self) -> Durability:
        """What the store promises of accepted jobs; raises EvictingRedis where it may drop them."""

    def watch(self, job_id: str) -> AbstractContextManager[Watch]:
        """Notice every change of a job from now on; enter it before reading the job."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Holds what watching needs for as long as the application runs."""
