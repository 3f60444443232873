"""RQ's in-process worker with the gaps closed that matter here.

Only named tasks run. A job holds a lease that a thread renews, so that a killed worker's job is noticed within
half a minute and run again. Errors of the work itself are final; only crashes are retried.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import AbandonedJobError, StopRequested
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.utils import now

from lig_core.errors import LigError
from worker.progress import announce

LEASE_SECONDS = 30
RENEWALS_PER_LEASE = 6
"""How often within a lease a busy worker renews it, and an idle one looks for leases that ran out."""
ALIVE_SECONDS = 30
"""How long a worker counts as alive without saying so."""
LOCK_SECONDS = 10

Task = Callable[..., Any]

log = logging.getLogger(__name__)


class TaskNotAllowed(Exception):
    """A job names something that is not one of this worker's tasks."""


class JobFailed(Exception):
    """A task ended in an error that it wrote into its job, and logged where that is worth it."""


class WorkerLost(LigError):
    """The process that ran the job died, more often than the job may be tried again."""

    code = "worker_lost"
    title = "The worker died while running the job"
    retryable = True


def job_class(tasks: Mapping[str, Task]) -> type[Job]:
    """Jobs that can run these tasks and nothing else.

    RQ imports and calls whatever a job names, callbacks included: who can write to Redis could run any code.
    """

    class NamedTaskJob(Job):  # type: ignore[misc]  # RQ is untyped
        @property
        def func(self) -> Task:
            """The task; never imported, always one of those given."""
            if self.instance is not None or self.func_name not in tasks:
                raise TaskNotAllowed(f"job {self.id} names a task that this worker does not have")
            return tasks[self.func_name]

        def restore(self, raw_data: dict[bytes, bytes]) -> Any:
            """Read the job as stored, without callbacks and webhooks."""
            restored = super().restore(raw_data)
            self._success_callback_name = self._failure_callback_name = self._stopped_callback_name = None
            self.webhooks: list[object] = []
            return restored

    return NamedTaskJob


class _PatientIntermediateQueue(IntermediateQueue):  # type: ignore[misc]
    """Where a job is between being popped and being started."""

    def should_be_cleaned_up(self, job_id: str) -> bool:
        """Whether the worker that popped the job must have died; RQ waits a minute."""
        first_seen = self.get_first_seen(job_id)
        return first_seen is not None and now() - first_seen > timedelta(seconds=LOCK_SECONDS)


class LeaseQueue(Queue):  # type: ignore[misc]
    """A queue whose maintenance is not held up for a quarter of an hour by a worker that died during it."""

    @property
    def intermediate_queue(self) -> IntermediateQueue:
        """Jobs popped and not yet started."""
        return _PatientIntermediateQueue(self.key, connection=self.connection)

    def acquire_maintenance_lock(self) -> bool:
        """Whether this worker is the one to clean up now."""
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=LOCK_SECONDS))


class LeaseWorker(SimpleWorker):  # type: ignore[misc]
    """Runs jobs in its own process, where the models stay loaded, and renews the job's lease meanwhile."""

    queue_class = LeaseQueue

    def __init__(self, queue: Queue, tasks: Mapping[str, Task], lease_seconds: int) -> None:
        self._lease_seconds = lease_seconds
        self._renew_every = lease_seconds / RENEWALS_PER_LEASE
        self._lease: _Lease | None = None
        super().__init__(
            [queue],
            connection=queue.connection,
            serializer="json",
            job_class=job_class(tasks),
            worker_ttl=round(self._renew_every) + 15,  # RQ waits for a job 15 s less than this
            maintenance_interval=self._renew_every,
            exception_handlers=[_settle],
            log_job_description=False,
        )

    def work(self, *arguments: Any, **options: Any) -> bool:
        """Work until asked to stop; whether any job was done."""
        try:
            return bool(super().work(*arguments, **options))
        except StopRequested:  # while it was still starting
            self.teardown()
            return False

    def bootstrap(self, *arguments: Any, **options: Any) -> None:
        """Register. RQ listens to SIGTERM only afterwards; stopped in between, it would be counted as alive."""
        self._install_signal_handlers()
        super().bootstrap(*arguments, **options)

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """How long the job stays this worker's without a renewal, in seconds."""
        return self._lease_seconds

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that this worker lives; the API counts workers by these signs."""
        super().heartbeat(ALIVE_SECONDS, pipeline)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Run the job under a lease."""
        self._lease = _Lease(lambda: self.maintain_heartbeats(job, execution), self._renew_every)
        try:
            return bool(super().perform_job(job, queue, execution))
        finally:
            self._lease.end()
            with contextlib.suppress(RedisError):
                announce(job)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log and settle a failure; a task's own errors take one line, for RQ's traceback adds nothing to it."""
        if exc_info[0] is JobFailed:
            log.warning("job %s failed: %s", job.id, exc_info[1])
            _settle(job, *exc_info)
        else:
            super().handle_exception(job, *exc_info)

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """End the lease before the outcome is written: a late renewal would bring back what that removes."""
        if self._lease is not None:
            self._lease.end()
        super().handle_execution_ended(job, queue, heartbeat_ttl)


class _Lease:
    """Renews until ended, in a thread: the job's own thread is busy with the job."""

    def __init__(self, renew: Callable[[], None], every: float) -> None:
        self._renew = renew
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop renewing; returns once no renewal is under way."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                self._renew()
            except RedisError as error:
                log.warning("lease not renewed: %s", error)


def _settle(job: Job, kind: type[BaseException], error: BaseException, traceback: object) -> None:
    """Decide whether a failed job runs again, and see to it that a final failure says why."""
    if not issubclass(kind, AbandonedJobError):
        # What failed by itself would fail again; a job whose worker died deserves another one.
        job.retries_left = 0
    if not job.retries_left and "error" not in job.meta:
        job.meta["error"] = _unexplained(job, kind).as_dict()
        job.save_meta()


def _unexplained(job: Job, kind: type[BaseException]) -> LigError:
    if issubclass(kind, AbandonedJobError):
        return WorkerLost("the worker died each time this job ran; ask for fewer layers or a shorter text")
    return LigError(f"an unexpected fault; the worker's log has the details under job {job.id}")
