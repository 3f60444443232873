"""All jobs and workers at a glance, for those who run the service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis import Redis

from lig_core.serving.queue import names
from service.jobs.job import Job, JobStatus
from service.jobs.queue_state import REGISTRIES, read_holds
from service.jobs.redis import connect, reachable
from service.jobs.redis_rows import number
from service.jobs.redis_store import RqJobStore
from service.settings import Settings


@dataclass(frozen=True)
class WorkerView:
    """A worker as it described itself last; sizes are bytes, `device` is None without a GPU."""

    name: str
    host: str
    pid: int
    state: str
    models: list[dict[str, Any]]
    resident: int | None
    device: int | None


@dataclass(frozen=True)
class Flow:
    """What waits of one owner and priority; `cost` are estimated seconds."""

    owner: str
    priority: str
    waiting: int
    cost: float


class Overview:
    """Reads; every method raises StoreUnavailable. Several jobs may share a computation: counts are of those."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self.store = RqJobStore(redis_url, settings)
        self._redis: Redis = connect(redis_url, settings)
        self._queue = settings.queue
        self.root = settings.root_path

    def jobs(self, status: JobStatus, limit: int) -> list[Job]:
        """The jobs in a state: waiting ones in their order, ended ones from the last to expire."""
        key = names.key(REGISTRIES[status][0], self._queue)
        found: Any
        with reachable():
            if status is JobStatus.QUEUED:
                found = self._redis.zrange(key, 0, limit - 1)
            else:
                found = self._redis.zrevrange(key, 0, limit - 1)
        return self._jobs_of([_text(raw).partition(":")[0] for raw in found])[:limit]

    def dead(self, limit: int) -> list[Job]:
        """The jobs given up because the process computing them died too often."""
        with reachable():
            found: Any = self._redis.zrevrange(names.key("dead", self._queue), 0, limit - 1)
        return self._jobs_of([_text(raw) for raw in found])[:limit]

    def counts(self) -> dict[str, int]:
        """How many computations are where, by status; dead letters are failures too."""
        kinds = {**{str(status): found for status, found in REGISTRIES.items()}, "dead letters": ("dead",)}
        with reachable():
            return {
                name: sum(int(self._redis.zcard(names.key(kind, self._queue))) for kind in found)
                for name, found in kinds.items()
            }

    def flows(self) -> list[Flow]:
        """What waits, by owner and priority, the most costly first."""
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            waiting: Any = self._redis.zrange(names.key("waiting", self._queue), 0, -1)
            for computation in waiting:
                pipe.hmget(names.key("computation", self._queue, _text(computation)), "flow", "cost")
            found = pipe.execute()
        costs: dict[str, list[float]] = {}
        for flow, cost in found:
            if flow is not None:
                costs.setdefault(_text(flow), []).append(number(cost) or 0.0)
        flows = []
        for name, each in costs.items():
            owner, _, priority = name.rpartition(":")
            flows.append(Flow(owner, priority, len(each), sum(each)))
        return sorted(flows, key=lambda flow: -flow.cost)

    def workers(self) -> list[WorkerView]:
        """The workers that are alive."""
        with reachable():
            registered: Any = self._redis.smembers(names.key("workers", self._queue))
            found: Any = [(_text(key), self._redis.hgetall(key)) for key in sorted(registered)]
        return [_worker(key.rpartition(":")[2], fields) for key, fields in found if b"pid" in fields]

    def worker_of(self, job: Job) -> str:
        """The name of the worker that runs a job."""
        with reachable():
            name: Any = self._redis.hget(names.key("computation", self._queue, job.computation), "worker_name")
        return name.decode() if name else ""

    def _jobs_of(self, computations: list[str]) -> list[Job]:
        """The jobs of each computation; of one that all let go of, the job that it was made for."""
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            for computation in computations:
                pipe.hkeys(names.key("claims", self._queue, computation))
                pipe.hget(names.key("computation", self._queue, computation), names.FIRST)
            found = pipe.execute()
        ids = [claims or [first] for claims, first in zip(found[::2], found[1::2], strict=True)]
        return self.store.find([_text(raw) for each in ids for raw in each if raw is not None])


def _worker(name: str, fields: dict[bytes, bytes]) -> WorkerView:
    holds = read_holds(fields.get(names.HOLDS.encode()))
    return WorkerView(
        name=name,
        host=_text(fields.get(b"hostname", b"")),
        pid=int(number(fields[b"pid"]) or 0),
        state=_text(fields.get(b"state", b"")),
        models=holds.get("models", []),
        resident=holds.get("resident"),
        device=holds.get("device"),
    )


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
