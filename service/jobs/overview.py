"""All jobs at a glance, for those who run the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis

from lig_core.serving.queue import names
from lig_core.serving.queue.names import Field
from service.jobs.job import Job, JobStatus
from service.jobs.queue_state import REGISTRIES
from service.jobs.redis import connect, reachable
from service.jobs.redis_rows import number
from service.jobs.redis_store import RqJobStore
from service.settings import Settings


@dataclass(frozen=True)
class Flow:
    """The computations of one owner and priority that wait; `cost` are estimated seconds."""

    owner: str
    priority: str
    waiting: int
    cost: float


class Overview:
    """Reads; every method raises StoreUnavailable."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self.store = RqJobStore(redis_url, settings)
        self._redis: Redis = connect(redis_url, settings)
        self._queue = settings.queue
        self.root = settings.root_path

    def jobs(self, status: JobStatus, limit: int) -> list[Job]:
        """The jobs in a state: waiting ones in their order, ended ones from the last to expire."""
        return self._jobs_in(REGISTRIES[status][0], limit, last_first=status is not JobStatus.QUEUED)

    def dead(self, limit: int) -> list[Job]:
        """The jobs given up because the process computing them died too often."""
        return self._jobs_in("dead", limit, last_first=True)

    def flows(self) -> list[Flow]:
        """Those that wait, by owner and priority, the most costly first."""
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            waiting: Any = self._redis.zrange(names.key("waiting", self._queue), 0, -1)
            for computation in waiting:
                pipe.hmget(names.key("computation", self._queue, _text(computation)), Field.FLOW, Field.COST)
            rows = pipe.execute()
        costs: dict[str, list[float]] = {}
        for flow, cost in rows:
            if flow is not None:
                costs.setdefault(_text(flow), []).append(number(cost) or 0.0)
        flows = []
        for name, each in costs.items():
            owner, _, priority = name.rpartition(":")
            flows.append(Flow(owner, priority, len(each), sum(each)))
        return sorted(flows, key=lambda flow: -flow.cost)

    def worker_of(self, job: Job) -> str:
        """The name of the worker that runs a job."""
        with reachable():
            name: Any = self._redis.hget(names.key("computation", self._queue, job.computation), Field.WORKER_NAME)
        return name.decode() if name else ""

    def _jobs_in(self, kind: str, limit: int, *, last_first: bool) -> list[Job]:
        """The jobs of a sorted set's computations; of one that all let go of, the job that it was made for."""
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            members: Any = self._redis.zrange(names.key(kind, self._queue), 0, limit - 1, desc=last_first)
            for computation in (_text(member).partition(":")[0] for member in members):
                pipe.hkeys(names.key("claims", self._queue, computation))
                pipe.hget(names.key("computation", self._queue, computation), Field.FIRST_JOB)
            rows = pipe.execute()
        ids = [claims or [first] for claims, first in zip(rows[::2], rows[1::2], strict=True)]
        return self.store.find([_text(raw) for each in ids for raw in each if raw is not None])[:limit]


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
