"""All jobs and workers at a glance, for those who run the service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from redis import Redis
from rq.job import Job as RqJob
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from lig_core.queue import names
from service.jobs import Job, JobStatus
from service.problems import JobNotFound
from service.rq_jobs import RqJobStore, connect, reachable
from service.settings import Settings

REGISTRY = {
    JobStatus.RUNNING: "wip",
    JobStatus.SUCCEEDED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "canceled",
}


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
class Lane:
    """How many jobs of one priority are where."""

    priority: str
    queued: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    dead: int


class Overview:
    """Reads; every method raises StoreUnavailable."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self.store = RqJobStore(redis_url, settings)
        self._redis: Redis = connect(redis_url, settings)
        self._queue = settings.queue
        self._lanes = {lane: names.lane_name(settings.queue, lane) for lane in names.LANES}

    def jobs(self, status: JobStatus, limit: int) -> list[Job]:
        """The jobs in a state: waiting ones in their order, ended ones from the last to expire."""
        with reachable():
            ids = [job_id for lane in self._lanes.values() for job_id in self._ids(status, lane, limit)]
        return list(self._read(ids[:limit]))

    def dead(self, limit: int) -> list[Job]:
        """The jobs given up because the process computing them died too often."""
        with reachable():
            found: Any = [self._redis.zrevrange(names.dead_key(lane), 0, limit - 1) for lane in self._lanes.values()]
        return list(self._read([raw.decode() for lane in found for raw in lane][:limit]))

    def lanes(self) -> list[Lane]:
        """How many jobs are where."""
        with reachable():
            return [self._lane(priority, lane) for priority, lane in self._lanes.items()]

    def workers(self) -> list[WorkerView]:
        """The workers that are alive."""
        with reachable():
            registered: Any = self._redis.smembers(WORKERS_BY_QUEUE_KEY % self._queue)
            found: Any = [(key.decode(), self._redis.hgetall(key)) for key in sorted(registered)]
        return [_worker(key.rpartition(":")[2], fields) for key, fields in found if b"pid" in fields]

    def worker_of(self, job_id: str) -> str:
        """The name of the worker that runs a job."""
        with reachable():
            name: Any = self._redis.hget(RqJob.key_for(job_id), "worker_name")
        return name.decode() if name else ""

    def _ids(self, status: JobStatus, lane: str, limit: int) -> list[str]:
        found: Any
        if status is JobStatus.QUEUED:
            found = self._redis.lrange(names.waiting(lane), 0, limit - 1)
        else:
            found = self._redis.zrevrange(names.registry(REGISTRY[status], lane), 0, limit - 1)
        return [raw.decode().partition(":")[0] for raw in found]

    def _read(self, ids: list[str]) -> Iterator[Job]:
        for job_id in ids:
            with contextlib.suppress(JobNotFound):  # it expired a moment ago
                yield self.store.get(job_id)

    def _lane(self, priority: str, lane: str) -> Lane:
        counts: dict[str, Any] = {
            str(status): self._redis.zcard(names.registry(kind, lane)) for status, kind in REGISTRY.items()
        }
        queued: Any = self._redis.llen(names.waiting(lane))
        dead: Any = self._redis.zcard(names.dead_key(lane))
        return Lane(priority=priority, queued=queued, dead=dead, **counts)


def _worker(name: str, fields: dict[bytes, bytes]) -> WorkerView:
    holds = json.loads(fields.get(names.HOLDS.encode(), b"{}"))
    return WorkerView(
        name=name,
        host=fields.get(b"hostname", b"").decode(),
        pid=int(fields[b"pid"]),
        state=fields.get(b"state", b"").decode(),
        models=holds.get("models", []),
        resident=holds.get("resident"),
        device=holds.get("device"),
    )
