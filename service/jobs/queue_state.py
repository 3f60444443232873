"""How the queue, the jobs and the workers stand: a few numbers, however long the queue is; all who count read here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from redis import Redis

from lig_core.serving.queue import counters, names
from lig_core.serving.queue.counters import Counters
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.workers import Worker, live_workers
from service.jobs.job import JobStatus
from service.jobs.redis_rows import number

REGISTRIES: Mapping[JobStatus, tuple[str, ...]] = {
    JobStatus.QUEUED: ("waiting", "popped"),
    JobStatus.RUNNING: ("leases",),
    JobStatus.SUCCEEDED: ("finished",),
    JobStatus.FAILED: ("failed",),
    JobStatus.CANCELLED: ("canceled",),
}
"""Where the computations of each state are, most of them in the first."""
SIZED = (*(kind for kinds in REGISTRIES.values() for kind in kinds), "dead", "webhooks")
"""Kinds of sorted sets that are counted."""


@dataclass(frozen=True)
class Line:
    """Computations of one priority that wait."""

    length: int = 0
    cost: float = 0.0  # estimated seconds
    oldest: float = 0.0  # seconds that the one that waits longest has waited


@dataclass(frozen=True)
class QueueState:
    """All of it; by default, that of a Redis with nothing in it. `sizes` are of SIZED."""

    lines: Mapping[str, Line] = field(default_factory=lambda: dict.fromkeys(names.PRIORITIES, Line()))
    backlog: float = 0.0  # estimated seconds for one worker
    limit: float = 0.0  # beyond which work is refused
    rate: float | None = None  # measured seconds per unit of `Submission.work`, over the last jobs
    sizes: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(SIZED, 0))
    workers: tuple[Worker, ...] = ()
    counted: Counters = field(default_factory=lambda: counters.parse({}))

    @property
    def computations(self) -> dict[str, int]:
        """How many computations there are, by status."""
        return {str(status): sum(self.sizes[kind] for kind in kinds) for status, kinds in REGISTRIES.items()}


def read(redis: Redis, queue: str, max_backlog: float) -> QueueState:
    """The state, in three round trips. `max_backlog`: the seconds of work that are taken on for each worker."""
    lines = [names.key("line", queue, priority) for priority in names.PRIORITIES]
    with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hgetall(names.key("counters", queue))
        pipe.get(names.key("backlog", queue))
        pipe.hmget(names.key("rate", queue), Field.WORK, Field.SECONDS)
        pipe.hmget(names.key("costs", queue), list(names.PRIORITIES))
        for kind in SIZED:
            pipe.zcard(names.key(kind, queue))
        for line in lines:
            pipe.zcard(line)
        for line in lines:
            pipe.zrange(line, 0, 0, withscores=True)
        (seconds, microseconds), counted, backlog, (work, spent), costs, *rest = pipe.execute()
    sizes, lengths, firsts = rest[: len(SIZED)], rest[len(SIZED) : -len(lines)], rest[-len(lines) :]
    workers = live_workers(redis, queue)
    now, units, seconds_spent = seconds + microseconds / 1e6, number(work), number(spent)
    return QueueState(
        lines={
            priority: Line(length, number(cost) or 0.0, max(0.0, now - first[0][1]) if first else 0.0)
            for priority, length, cost, first in zip(names.PRIORITIES, lengths, costs, firsts, strict=True)
        },
        backlog=number(backlog) or 0.0,
        limit=max_backlog * max(1, len(workers)),
        rate=seconds_spent / units if seconds_spent and units else None,
        sizes=dict(zip(SIZED, sizes, strict=True)),
        workers=workers,
        counted=counters.parse(counted),
    )
