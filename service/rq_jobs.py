"""The job store on Redis, through RQ. Of the service, only this module and `overview` know RQ.

What is queued is JSON and names its task by a string: nothing that Redis holds is ever unpickled.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as RedisRetry
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job as RqJob
from rq.job import JobStatus as RqStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from lig_core.contract import ExplainRequest, Progress
from lig_core.errors import LigError
from lig_core.queue import names
from lig_core.queue.durability import Durability, read_durability
from lig_core.queue.fence import Listed, Scored, server_time
from lig_core.queue.moves import Moves
from service.changes import JobChanges, JobWatch
from service.jobs import Job, JobStatus, ResultPointer
from service.problems import JobEnded, JobNotFound, ResultExpired, StoreUnavailable
from service.settings import Settings

STATUS = {
    RqStatus.STARTED: JobStatus.RUNNING,
    RqStatus.FINISHED: JobStatus.SUCCEEDED,
    RqStatus.FAILED: JobStatus.FAILED,
    RqStatus.STOPPED: JobStatus.CANCELLED,
    RqStatus.CANCELED: JobStatus.CANCELLED,
}
"""RQ's other states are all ways of waiting."""

FIELDS = (names.PROGRESS, names.ERROR, names.POINTER, names.ATTEMPTS, names.CANCEL, names.FORGET)


class RqJobStore:
    """Jobs as RQ jobs, on one queue per priority."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self._settings = settings
        self._redis = connect(redis_url, settings)
        self._lanes = {
            lane: Queue(names.lane_name(settings.queue, lane), connection=self._redis, serializer="json")
            for lane in names.LANES
        }
        self._moves = Moves(self._redis)
        self._changes = JobChanges(redis_url)

    def submit(self, request: ExplainRequest) -> Job:
        """Queue a request that was checked before."""
        job_id, settings = uuid.uuid4().hex, self._settings
        # Duplicate: the client sent the command again because the first answer was lost.
        with reachable(), contextlib.suppress(DuplicateJobError):
            self._lanes[request.priority].enqueue(
                names.TASK,
                args=(request.model_dump(mode="json"),),
                job_id=job_id,
                unique=True,
                description="explain",  # RQ's default description holds the text, and workers log it
                meta=self._deadlines(),
                job_timeout=settings.job_timeout,
                result_ttl=settings.result_ttl,
                failure_ttl=settings.failure_ttl,
                retry=Retry(max=settings.crash_retries) if settings.crash_retries else None,
            )
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """The job as it stands; raises JobNotFound."""
        with reachable():
            return self._as_job(*self._find(job_id))

    def cancel(self, job_id: str) -> Job:
        """Cancel a queued job, or ask for the end of a running one; raises JobNotFound, and JobEnded if too late."""
        with reachable():
            found, _ = self._find(job_id)
            status = STATUS.get(found.get_status(refresh=False), JobStatus.QUEUED)
            if status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
                raise JobEnded(f"the job has {status} already; there is nothing to cancel")
            if status is not JobStatus.CANCELLED:
                self._cancel(found)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Forget a job and its result; one that runs is cancelled first. Raises JobNotFound."""
        with reachable():
            found, _ = self._find(job_id)
            if STATUS.get(found.get_status(refresh=False), JobStatus.QUEUED).final:
                self._erase(found)
            else:
                self._redis.hset(found.key, names.FORGET, 1)
                self._cancel(found)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or cancelled job again, with new retries; raises JobNotFound, and JobEnded otherwise."""
        with reachable():
            found, _ = self._find(job_id)
            places = [Scored(names.registry(kind, found.origin), job_id) for kind in ("failed", "canceled")]
            if not any(self._moves.send_again(place, found, self._settings.crash_retries) for place in places):
                raise JobEnded("only a failed or cancelled job can be sent again")
        return self.get(job_id)

    def read_result(self, pointer: ResultPointer) -> bytes:
        """The result as gzip-compressed JSON; raises ResultExpired."""
        with reachable():
            stored: Any = self._redis.get(pointer.ref)
        if stored is None:
            raise ResultExpired("the result is no longer kept; send the request again")
        return bytes(stored)

    def live_workers(self) -> int:
        """How many workers gave a sign of life lately: a worker's key expires unless the worker renews it."""
        with reachable():
            registered: Any = self._redis.smembers(WORKERS_BY_QUEUE_KEY % self._settings.queue)
            alive: Any = self._redis.exists(*registered) if registered else 0
        return int(alive)

    def durability(self) -> Durability:
        """What Redis promises of accepted jobs; raises EvictingRedis where it may drop them and that is not allowed."""
        with reachable():
            found = read_durability(self._redis)
        found.require_no_eviction(allowed=self._settings.allow_eviction)
        return found

    def watch(self, job_id: str) -> AbstractContextManager[JobWatch]:
        """Notice every change of a job from now on; enter it before reading the job."""
        return self._changes.watch(job_id)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Listens for changes of jobs for as long as the application runs."""
        return self._changes.listening()

    def _deadlines(self) -> dict[str, float]:
        limits = {names.START_BY: self._settings.queue_timeout, names.END_BY: self._settings.total_timeout}
        if not any(limits.values()):
            return {}
        time = server_time(self._redis)
        return {name: time + seconds for name, seconds in limits.items() if seconds}

    def _find(self, job_id: str) -> tuple[RqJob, dict[str, Any]]:
        try:
            found = RqJob.fetch(job_id, connection=self._redis, serializer="json")
        except (NoSuchJobError, ValueError):  # ValueError: not a possible id
            found = None
        values: Any = self._redis.hmget(found.key, FIELDS) if found is not None else ()
        fields = {name: json.loads(value) for name, value in zip(FIELDS, values, strict=False) if value is not None}
        if found is None or names.FORGET in fields:
            raise JobNotFound(
                f"no job '{job_id[:80]}' here; it never was, or its result was kept no longer than "
                f"{self._settings.result_ttl} s: send the request again"
            )
        return found, fields

    def _cancel(self, found: RqJob) -> None:
        # The flag first: a worker that takes the job a moment from now will see it.
        self._redis.hset(found.key, names.CANCEL, 1)
        self._moves.cancel(Listed(names.waiting(found.origin), found.id), found)

    def _erase(self, found: RqJob) -> None:
        for kind in ("finished", "failed", "canceled"):
            self._redis.zrem(names.registry(kind, found.origin), found.id)
        self._redis.zrem(names.dead_key(found.origin), found.id)
        pointer: Any = self._redis.hget(found.key, names.POINTER)
        self._redis.delete(found.key, *([json.loads(pointer)["ref"]] if pointer else []))

    def _as_job(self, found: RqJob, fields: dict[str, Any]) -> Job:
        status = STATUS.get(found.get_status(refresh=False), JobStatus.QUEUED)
        waiting = {"phase": "queued", "done": 0, "total": 0}
        return Job(
            id=found.id,
            status=status,
            created_at=found.created_at,
            started_at=None if status is JobStatus.QUEUED else found.started_at,
            finished_at=found.ended_at if status.final else None,
            queue_position=self._position(found) if status is JobStatus.QUEUED else None,
            attempts=int(fields.get(names.ATTEMPTS, 0)),
            cancel_requested=names.CANCEL in fields,
            progress=Progress.model_validate(fields.get(names.PROGRESS, waiting)),
            result=_pointer(fields) if status is JobStatus.SUCCEEDED else None,
            error=_error(fields) if status is JobStatus.FAILED else None,
        )

    def _position(self, found: RqJob) -> int | None:
        ahead = 0
        for lane in self._lanes.values():
            if lane.name == found.origin:
                position = lane.get_job_position(found.id)
                return None if position is None else ahead + position
            ahead += lane.count
        return None


def connect(redis_url: str, settings: Settings) -> Redis:
    """A connection on which no command takes long, whatever Redis does."""
    return Redis.from_url(
        redis_url,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        # redis-py's own default of many retries would hold a request for up to a minute.
        retry=RedisRetry(NoBackoff(), 1),
    )


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Turn what goes wrong with Redis into StoreUnavailable."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise StoreUnavailable("Redis does not answer; nothing was lost, try again in a moment") from error
    except RedisError as error:
        raise StoreUnavailable(
            "Redis refused a command, perhaps for lack of memory; the service's log has its words"
        ) from error


def _pointer(fields: dict[str, Any]) -> ResultPointer | None:
    stored = fields.get(names.POINTER)
    return ResultPointer(ref=stored["ref"], size=stored["size"]) if stored else None


def _error(fields: dict[str, Any]) -> dict[str, Any]:
    silent = LigError("the job failed without saying why; the worker's log has the details")
    error: dict[str, Any] = fields.get(names.ERROR) or silent.as_dict()
    return error
