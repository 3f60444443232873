"""A job as the service sees it, and what any job store must do. Knows no queue and no database.

A *job* is what a client holds: it has one owner. Jobs that ask for the same share one *computation*, which is run,
streamed and stored once.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from lig_core.contract import JobRequest, Progress
from lig_core.models.references import ModelReference
from lig_core.serving.queue.counters import Outcome
from lig_core.serving.queue.durability import Durability


class JobStatus(StrEnum):
    """Where a job stands; the last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """True once the job will never change again."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


@dataclass(frozen=True)
class Submission:
    """A request that was checked, and what is known of it. `cost` is its estimated seconds on one worker."""

    request: JobRequest
    work_digest: str  # equal for requests that are the same work: service.submit.intake
    cost: float
    reference: ModelReference | None = None  # to the model, as its name was resolved
    identity: str | None = None  # of the model's content: lig_core.models.identity; None: only workers know
    work: float | None = None  # the estimate before the measured rate: the unit of `Load.rate`
    shares: str | None = None  # equal for those whose texts may share a sequence; None: computed alone
    tokens: int = 0  # of its text
    fresh: bool = False  # run it although the same was or is being run
    webhook: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Limits:
    """Limits of one owner; None is no limit."""

    concurrency: int | None = None  # unfinished jobs
    rate: float | None = None  # estimated seconds of work per second
    burst: float = 60.0  # seconds of that rate that may be asked for at once


@dataclass(frozen=True)
class StoredPart:
    """One part of a result: where it lies, its bytes, and how many they are in the store."""

    ref: str
    size: int
    stored_size: int


@dataclass(frozen=True)
class StoredLayer(StoredPart):
    """One layer's maps; `converged`: all of their columns did."""

    index: int
    converged: bool


@dataclass(frozen=True)
class Timings:
    """Seconds: waiting for a worker, loading the model, computing. None until known."""

    queue: float | None = None
    load: float | None = None
    compute: float | None = None


@dataclass(frozen=True)
class Job:
    """Work asked for, as of the moment it was read."""

    id: str
    owner: str
    computation: str  # never shown to clients
    request: JobRequest
    work_digest: str
    cost: float
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None  # computations ahead of it; None once it started
    attempts: int  # how often it was started
    cancel_requested: bool
    progress: Progress
    error: Mapping[str, Any] | None = None  # LigError.as_dict() of a failed job
    head: StoredPart | None = None  # the result without its layers; there once the first attempt got that far
    layers: tuple[StoredLayer, ...] = ()  # the layers that are done, in order; all of them once succeeded
    coalesced: bool = False  # it found the same work running or done
    group: str | None = None
    webhook: str | None = None
    traceparent: str | None = None
    timings: Timings = field(default_factory=Timings)
    cancelled_after: str | None = None  # the last event of the computation that concerns a cancelled job

    @property
    def converged(self) -> bool:
        """True where every column of every layer that is done converged."""
        return all(layer.converged for layer in self.layers)

    @property
    def result_size(self) -> int | None:
        """Bytes of the whole result as stored arrays, before compression; None before it succeeded."""
        if self.status is not JobStatus.SUCCEEDED or self.head is None:
            return None
        return self.head.size + sum(layer.size for layer in self.layers)


@dataclass(frozen=True)
class Accepted:
    """The jobs of a submission; `replayed`: an earlier one with the same idempotency key led to them already."""

    jobs: tuple[Job, ...]
    replayed: bool
    group: str | None


@dataclass(frozen=True)
class Page:
    """Some of an owner's jobs, the newest first; `next_cursor` is None on the last page."""

    jobs: tuple[Job, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Event:
    """Something that happened to a computation.

    kind: queued, started, progress, head, layer, succeeded, failed, cancelled. data: of `started` the attempt, of
    `progress` a Progress, of `layer` its index, size, whether it converged; of `failed` LigError.as_dict().
    """

    id: str
    kind: str
    data: dict[str, Any]

    @property
    def final(self) -> bool:
        """True where nothing comes after it."""
        return self.kind in {"succeeded", "failed", "cancelled"}


@dataclass(frozen=True)
class EventPage:
    """Events of a computation in order, and what of them concerns which of its jobs.

    forgotten: the last event that was forgotten, of progress only. ends: of jobs that were cancelled by themselves,
    the last event that concerns each. gone: jobs that are no longer known.
    """

    events: tuple[Event, ...]
    forgotten: str | None = None
    ends: Mapping[str, str] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Load:
    """The work that there is, who does it, and how fast."""

    waiting: int
    backlog: float  # estimated seconds for one worker
    limit: float  # the most of it
    workers: int
    rate: float | None = None  # measured seconds per unit of `Submission.work`; None before the first job

    @property
    def wait(self) -> float:
        """Seconds until a job sent now would be done with waiting, at the estimated costs."""
        return self.backlog / max(1, self.workers)


@dataclass(frozen=True)
class Claim:
    """A webhook that is due, held by one process until the lease ends; `attempt` counts from 1."""

    job: str
    lease_end: str  # as the store wrote it: it tells this claim from a later one
    attempt: int


class Watch(Protocol):
    """Notices changes of one job."""

    def notify(self) -> None:
        """Let whoever waits look again."""

    async def changed(self, seconds: float) -> None:
        """Return at once if the job may have changed since the last call, else when it does or after `seconds`."""


class JobStore(Protocol):
    """Accepts jobs and says how they stand. Methods block; all raise StoreUnavailable.

    `owner` None is the operator, who sees all. Of another owner's job nothing is told: it raises JobNotFound. A job
    whose result is no longer kept raises JobExpired for a while.
    """

    def submit(
        self,
        owner: str,
        submissions: Sequence[Submission],
        *,
        limits: Limits,
        idempotency: tuple[str, str] | None = None,
        group: bool = False,
    ) -> Accepted:
        """Accept all of them or none. `idempotency` is the caller's key and a digest of the body sent with it.

        `group` gives them a common id to list them by. Raises QueueFull and QuotaExceeded, both with `retry_after`;
        InvalidRequest for more jobs at once than the owner may ever have; IdempotencyMismatch; and UnfitRedis.
        """

    def get(self, owner: str | None, job_id: str) -> Job:
        """The job as it stands."""

    def list(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        group: str | None = None,
        status: JobStatus | None = None,
    ) -> Page:
        """An owner's jobs, the newest first; raises InvalidRequest for a cursor that was not given out.

        A page of few jobs among many others may have fewer than `limit`, even none, and still a next one.
        """

    def cancel(self, owner: str | None, job_id: str) -> Job:
        """Cancel a job at once; its computation stops when no other job needs it. Raises JobEnded if too late."""

    def delete(self, owner: str | None, job_id: str) -> None:
        """Cancel a job if need be, and forget it and, unless another job needs that, its result."""

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, with new retries; raises JobEnded otherwise."""

    def read_head(self, job: Job) -> dict[str, Any]:
        """The result without `layers` and `converged`; raises ResultExpired."""

    def read_layer(self, job: Job, index: int) -> bytes:
        """One layer of `job.layers`, as LayerArrays.to_bytes() made it; raises ResultExpired."""

    def read_whole(self, job: Job) -> tuple[dict[str, Any], builtins.list[bytes]]:
        """`read_head` and `read_layer` of every layer, in order, at once: of a small result."""

    def read_events(self, computation: str, after: str | None, count: int, jobs: Sequence[str] = ()) -> EventPage:
        """Events of a computation after the given id, None for all; at most `count`. `jobs` are those to tell of."""

    def watch(self, job: Job, *, end: bool = False) -> AbstractContextManager[Watch]:
        """Notice every change of a job from now on, or its `end` alone; enter it, then read the job again."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Holds what watching needs for as long as the application runs."""

    def claim_webhooks(self, limit: int, lease: float) -> Sequence[Claim]:
        """The webhooks that are due, at most `limit`, of all processes' jobs.

        Whoever does not settle one within `lease` seconds loses it.
        """

    def settle_webhook(self, claim: Claim, outcome: Outcome, again: float | None = None) -> bool:
        """Done with it, or due again in `again` seconds; False if the claim was lost meanwhile."""

    def load(self) -> Load:
        """The work that there is, who does it, and how fast."""

    def models(self) -> Mapping[str, str]:
        """The models that workers have without the hub, by name: what identifies their content; empty: not known."""

    def durability(self) -> Durability:
        """The promise that holds for jobs, if any are accepted now; raises UnfitRedis where it is not enough."""
