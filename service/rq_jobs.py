"""The job store on Redis, through RQ. The only module of the service that knows RQ.

What is queued is JSON and names its task by a string: nothing that Redis holds is ever unpickled.
"""

from __future__ import annotations

import contextlib
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
from service.changes import JobChanges, JobWatch, channel
from service.jobs import Job, JobStatus, ResultPointer
from service.problems import JobNotFound, ResultExpired, StoreUnavailable
from service.settings import Settings

TASK = "worker.tasks.run_explain"

STATUS = {
    RqStatus.STARTED: JobStatus.RUNNING,
    RqStatus.FINISHED: JobStatus.SUCCEEDED,
    RqStatus.FAILED: JobStatus.FAILED,
    RqStatus.STOPPED: JobStatus.CANCELLED,
    RqStatus.CANCELED: JobStatus.CANCELLED,
}
"""RQ's other states are all ways of waiting."""


class RqJobStore:
    """Jobs as RQ jobs on one queue."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self._settings = settings
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_timeout,
            # redis-py's own default of many retries would hold a request for up to a minute.
            retry=RedisRetry(NoBackoff(), 1),
        )
        self._queue = Queue(settings.queue, connection=self._redis, serializer="json")
        self._changes = JobChanges(redis_url)

    def submit(self, request: ExplainRequest) -> Job:
        """Queue a request that was checked before."""
        job_id = uuid.uuid4().hex
        # Duplicate: the client sent the command again because the first answer was lost.
        with _reachable(), contextlib.suppress(DuplicateJobError):
            self._queue.enqueue(
                TASK,
                args=(request.model_dump(mode="json"),),
                job_id=job_id,
                unique=True,
                description="explain",  # RQ's default description holds the text, and workers log it
                meta={"channel": channel(job_id)},
                job_timeout=self._settings.job_timeout,
                result_ttl=self._settings.result_ttl,
                failure_ttl=self._settings.failure_ttl,
                retry=Retry(max=self._settings.crash_retries) if self._settings.crash_retries else None,
            )
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """The job as it stands; raises JobNotFound."""
        with _reachable():
            try:
                found = RqJob.fetch(job_id, connection=self._redis, serializer="json")
            except (NoSuchJobError, ValueError):  # ValueError: not a possible id
                raise JobNotFound(
                    f"no job '{job_id[:80]}' here; it never was, or its result was kept no longer than "
                    f"{self._settings.result_ttl} s: send the request again"
                ) from None
            return self._as_job(found)

    def read_result(self, pointer: ResultPointer) -> bytes:
        """The result as gzip-compressed JSON; raises ResultExpired."""
        with _reachable():
            stored: Any = self._redis.get(pointer.ref)
        if stored is None:
            raise ResultExpired("the result is no longer kept; send the request again")
        return bytes(stored)

    def live_workers(self) -> int:
        """How many workers gave a sign of life lately: a worker's key expires unless the worker renews it."""
        with _reachable():
            names: Any = self._redis.smembers(WORKERS_BY_QUEUE_KEY % self._queue.name)
            alive: Any = self._redis.exists(*names) if names else 0
        return int(alive)

    def watch(self, job_id: str) -> AbstractContextManager[JobWatch]:
        """Notice every change of a job from now on; enter it before reading the job."""
        return self._changes.watch(job_id)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Listens for changes of jobs for as long as the application runs."""
        return self._changes.listening()

    def _as_job(self, found: RqJob) -> Job:
        status = STATUS.get(found.get_status(refresh=False), JobStatus.QUEUED)
        return Job(
            id=found.id,
            status=status,
            created_at=found.created_at,
            started_at=None if status is JobStatus.QUEUED else found.started_at,
            finished_at=found.ended_at if status.final else None,
            queue_position=self._queue.get_job_position(found.id) if status is JobStatus.QUEUED else None,
            progress=Progress.model_validate(found.meta.get("progress", {"phase": "queued", "done": 0, "total": 0})),
            result=_pointer(found) if status is JobStatus.SUCCEEDED else None,
            error=_error(found) if status is JobStatus.FAILED else None,
        )


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as error:
        raise StoreUnavailable("Redis does not answer; nothing was lost, try again in a moment") from error
    except RedisError as error:
        raise StoreUnavailable(
            "Redis refused a command, perhaps for lack of memory; the service's log has its words"
        ) from error


def _pointer(found: RqJob) -> ResultPointer | None:
    returned = found.return_value()  # RQ keeps it beside the job, and it may expire a moment earlier
    return ResultPointer(ref=returned["ref"], size=returned["size"]) if returned else None


def _error(found: RqJob) -> dict[str, Any]:
    silent = LigError("the job failed without saying why; the worker's log has the details")
    error: dict[str, Any] = found.meta.get("error") or silent.as_dict()
    return error
