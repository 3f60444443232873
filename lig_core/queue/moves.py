"""Every move of a job from one state to another.

    queue ── pop ──> popped ── start ──> leased ── finish, fail, cancel ──> ended
      ^                │                   │                                  │
      └── give back ───┴──── retry ────────┴──────────── send again ──────────┘

"popped" is RQ's intermediate list; "leased" is RQ's registry of started jobs, scored by the end of the lease, with one
member per attempt (`job:execution`). Each move is one script that does nothing unless the job is still where the mover
saw it, so of two movers one wins, and a move is there entirely or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq.job import Job, JobStatus
from rq.utils import now, utcformat

from lig_core.errors import LigError
from lig_core.queue import names
from lig_core.queue.errors import Crashed
from lig_core.queue.fence import Listed, Place, Scored, run_if_at, server_time

DEFAULT_TTL_SECONDS = 24 * 3600
# The pointer expires with its job, and must not outlive what it points at.
LONGER_THAN_POINTER_SECONDS = 60


@dataclass(frozen=True)
class Run:
    """One attempt at a job, under a lease."""

    job: Job
    execution: str

    @property
    def place(self) -> Scored:
        """Held for as long as nobody else took the job over."""
        return Scored(names.registry("wip", self.job.origin), f"{self.job.id}:{self.execution}")


class Moves:
    """Moves jobs; every method says whether the job was still there to be moved."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def start(self, run: Run, worker: str, lease: float) -> bool:
        """From popped to leased, for `lease` seconds. True also when an answer got lost and this is asked again."""
        job, commands = run.job, self._redis.pipeline()
        job.started_at = now()
        commands.zadd(run.place.key, {run.place.member: server_time(self._redis) + lease})
        fields: dict[Any, Any] = {
            "status": JobStatus.STARTED,
            "started_at": utcformat(job.started_at),
            "worker_name": worker,
        }
        commands.hset(job.key, mapping=fields)
        commands.hincrby(job.key, names.ATTEMPTS, 1)
        commands.hdel(job.key, names.PROGRESS)
        commands.persist(job.key)
        commands.delete(names.popped_key(job.id))
        commands.publish(names.channel(job.id), b"")
        popped = Listed(names.popped(job.origin), job.id)
        return run_if_at(self._redis, popped, commands) or self.holds(run)

    def holds(self, run: Run) -> bool:
        """Whether the attempt still has its lease."""
        return self._redis.zscore(run.place.key, run.place.member) is not None

    def renew(self, run: Run, lease: float) -> bool:
        """Hold the lease for another `lease` seconds."""
        commands = self._redis.pipeline()
        commands.zadd(run.place.key, {run.place.member: server_time(self._redis) + lease}, xx=True)
        return run_if_at(self._redis, run.place, commands)

    def report(self, run: Run, progress: str) -> bool:
        """Note how far the attempt has come, as JSON."""
        commands = self._redis.pipeline()
        commands.hset(run.job.key, names.PROGRESS, progress)
        commands.publish(names.channel(run.job.id), b"")
        return run_if_at(self._redis, run.place, commands)

    def finish(self, run: Run, pointer: Mapping[str, Any]) -> bool:
        """The attempt succeeded, and its result is the job's."""
        job = run.job
        ttl = job.result_ttl or DEFAULT_TTL_SECONDS
        commands = self._redis.pipeline()
        commands.expire(pointer["ref"], ttl + LONGER_THAN_POINTER_SECONDS)
        commands.hset(job.key, names.POINTER, json.dumps(dict(pointer)))
        self._end(commands, run.place, job, JobStatus.FINISHED, ttl, names.registry("finished", job.origin))
        # Asked again after a lost answer, the lease is gone because the first time worked.
        return run_if_at(self._redis, run.place, commands) or self._is_winner(job, pointer)

    def fail(self, place: Place, job: Job, error: LigError | Mapping[str, Any], *, dead: bool = False) -> bool:
        """The job failed for good; `dead` makes it a dead letter as well."""
        ttl = job.failure_ttl or DEFAULT_TTL_SECONDS
        commands = self._redis.pipeline()
        told = error.as_dict() if isinstance(error, LigError) else error
        commands.hset(job.key, names.ERROR, json.dumps(told))
        self._end(commands, place, job, JobStatus.FAILED, ttl, names.registry("failed", job.origin))
        if dead:
            commands.zadd(names.dead_key(job.origin), {job.id: server_time(self._redis) + ttl})
        return run_if_at(self._redis, place, commands)

    def cancel(self, place: Place, job: Job) -> bool:
        """The job is cancelled; it stays visible for as long as a failure."""
        ttl = job.failure_ttl or DEFAULT_TTL_SECONDS
        commands = self._redis.pipeline()
        self._end(commands, place, job, JobStatus.CANCELED, ttl, names.registry("canceled", job.origin))
        if self._redis.hexists(job.key, names.FORGET):
            commands.zrem(names.registry("canceled", job.origin), job.id)
            commands.delete(job.key)
        return run_if_at(self._redis, place, commands)

    def crashed(self, place: Place, job: Job) -> bool:
        """The process that ran the job died: queue it again, or give up when that happened too often.

        After its first crash it is next, for machines fail; after more it may be the job's own fault, and others
        go before it.
        """
        if self._redis.hexists(job.key, names.CANCEL):
            return self.cancel(place, job)
        attempts = int(self._redis.hget(job.key, names.ATTEMPTS) or 1)
        if job.retries_left:
            return self._queue_again(place, job, front=attempts == 1, retries_left=job.retries_left - 1)
        error = Crashed(
            f"the process computing this job died, in each of {attempts} attempts; the worker's log may say why. "
            "Ask for fewer layers or a shorter text"
        )
        return self.fail(place, job, error, dead=True)

    def give_back(self, place: Place, job: Job) -> bool:
        """Back to the head of the queue, as if it had not been taken."""
        return self._queue_again(place, job, front=True, retries_left=job.retries_left, uncounted=True)

    def send_again(self, place: Place, job: Job, retries: int) -> bool:
        """From an end back to the queue, with new retries."""
        return self._queue_again(place, job, front=False, retries_left=retries, fresh=True)

    def _queue_again(
        self,
        place: Place,
        job: Job,
        *,
        front: bool,
        retries_left: int | None,
        fresh: bool = False,
        uncounted: bool = False,
    ) -> bool:
        commands = self._redis.pipeline()
        _leave(commands, place)
        commands.hset(job.key, mapping={"status": JobStatus.QUEUED, "retries_left": retries_left or 0})
        commands.hdel(job.key, names.PROGRESS, "started_at", "ended_at")
        if fresh:
            commands.hdel(job.key, names.ERROR, names.CANCEL, names.ATTEMPTS)
            commands.zrem(names.dead_key(job.origin), job.id)
        elif isinstance(place, Scored) and uncounted:
            commands.hincrby(job.key, names.ATTEMPTS, -1)
        commands.persist(job.key)
        commands.delete(names.popped_key(job.id))
        (commands.lpush if front else commands.rpush)(names.waiting(job.origin), job.id)
        commands.publish(names.channel(job.id), b"")
        return run_if_at(self._redis, place, commands)

    def _end(self, commands: Pipeline, place: Place, job: Job, status: JobStatus, ttl: int, registry: str) -> None:
        _leave(commands, place)
        commands.hset(job.key, mapping={"status": status, "ended_at": utcformat(now())})
        commands.expire(job.key, ttl)
        commands.zadd(registry, {job.id: server_time(self._redis) + ttl})
        commands.publish(names.channel(job.id), b"")

    def _is_winner(self, job: Job, pointer: Mapping[str, Any]) -> bool:
        stored = self._redis.hget(job.key, names.POINTER)
        return stored is not None and json.loads(stored)["ref"] == pointer["ref"]


def _leave(commands: Pipeline, place: Place) -> None:
    if isinstance(place, Scored):  # the script itself takes it off a list
        commands.zrem(place.key, place.member)
