"""The worker: takes jobs off the queue, has them computed by the process with the models, and writes what came of it.

A small process without torch, one per device. It is RQ's Worker in what others see of it (its registration, its
signs of life, the queues), with the taking and running of jobs replaced: every move of a job is one of
`lig_core.queue.moves`, and nothing that Redis names is ever imported or called.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from types import FrameType
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import clean_worker_registry

from lig_core.errors import LigError
from lig_core.queue import names
from lig_core.queue.errors import JobTimedOut
from lig_core.queue.fence import Listed, server_time
from lig_core.queue.moves import Moves, Run
from lig_core.queue.upkeep import tidy
from worker.process import ModelProcess, ProcessDied
from worker.supervision import RENEWALS_PER_LEASE, Ended, Stop, Supervision

ALIVE_SECONDS = 30
"""How long a worker counts as alive without saying so."""
WAIT_SECONDS = 0.5
"""How long one wait for an interactive job lasts; a bulk job is seen after it."""
RECONNECT_SECONDS = 1.0

log = logging.getLogger(__name__)


class JobNotAllowed(LigError):
    """A job that no API queued."""

    code = "job_not_allowed"
    title = "The job is not one of this service"


class LeaseWorker(Worker):  # type: ignore[misc]  # RQ is untyped
    """One worker with one process. `redis` waits for Redis to come back, `brief` gives up soon."""

    def __init__(
        self,
        lanes: Sequence[Queue],
        process: ModelProcess,
        redis: Redis,
        brief: Redis,
        *,
        lease: float,
        drain_grace: float,
    ) -> None:
        self._process, self._brief = process, brief
        self._moves = Moves(redis)
        self._lease, self._drain_grace = lease, drain_grace
        self._drain_from: float | None = None
        self._alive_until = 0.0
        super().__init__(
            list(lanes),
            connection=redis,
            serializer="json",
            maintenance_interval=lease / RENEWALS_PER_LEASE,
            log_job_description=False,
        )

    @property
    def draining(self) -> bool:
        """Whether it was asked to stop."""
        return self._drain_from is not None

    def listen_to_signals(self) -> None:
        """SIGTERM and SIGINT drain from now on."""
        self._install_signal_handlers()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Take no more jobs; the one under way may finish within the grace, and goes back to the queue after it.

        A second signal ends the grace.
        """
        if self.draining:
            self._drain_grace = 0.0
        else:
            self._drain_from = time.monotonic()
            self._stop_requested = True

    def subscribe(self) -> None:
        """RQ's commands to workers are not taken: they would stop jobs past the bookkeeping here."""

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Say that this worker lives; the API counts workers by these signs."""
        there = self._brief if pipeline is None else pipeline
        try:
            super().heartbeat(ALIVE_SECONDS, there)
            there.hset(self.key, names.HOLDS, orjson.dumps(self._process.holds))
        except (RedisConnectionError, RedisTimeoutError) as error:
            log.warning("no sign of life given: %s", error)
        self._alive_until = time.monotonic() + ALIVE_SECONDS / RENEWALS_PER_LEASE

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """The next job, once there is one and the process with the models is ready for it; None to stop."""
        burst = timeout is None
        while not self.draining:
            try:
                self._keep_house()
                if not self._process.make_ready(self._while_loading):
                    break
                taken = self._take(wait=not burst)
                if taken is not None or burst:
                    return taken
            except (RedisConnectionError, RedisTimeoutError) as error:
                log.warning("Redis does not answer (%s), trying again", type(error).__name__)
                time.sleep(RECONNECT_SECONDS)
        return None

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one popped job and write its outcome."""
        popped = Listed(names.popped(queue.name), job.id)
        if self.draining:
            self._moves.give_back(popped, job)
            return
        if self.connection.hexists(job.key, names.CANCEL):
            self._moves.cancel(popped, job)
            return
        run = Run(job, uuid.uuid4().hex)
        if not self._moves.start(run, self.name, self._lease):
            return  # it took so long here that the job was given back
        self.set_state(WorkerStatus.BUSY)
        self._compute(run)
        self.set_state(WorkerStatus.IDLE)

    def clean_registries(self) -> None:
        """Give back what dead workers held. Several workers may do so at once, for the moves are fenced."""
        for lane in self.queues:
            tidy(self._brief, lane.name)
            clean_worker_registry(lane)
        self.last_cleaned_at = now()

    def clean_group_registries(self) -> None:
        """There are no groups."""

    def teardown(self) -> None:
        """End the process, and say goodbye."""
        self._process.close()
        super().teardown()

    def _take(self, *, wait: bool) -> tuple[Job, Queue] | None:
        # BLMOVE takes one list only; LMOVE over the lanes first makes the order strict and each pop crash-safe.
        for lane in self.queues:
            job_id = self.connection.lmove(lane.key, names.popped(lane.name))
            if job_id is not None:
                return self._fetch(lane, job_id.decode())
        first = self.queues[0]
        job_id = self.connection.blmove(first.key, names.popped(first.name), WAIT_SECONDS) if wait else None
        return self._fetch(first, job_id.decode()) if job_id is not None else None

    def _fetch(self, lane: Queue, job_id: str) -> tuple[Job, Queue] | None:
        try:
            return Job.fetch(job_id, connection=self.connection, serializer="json"), lane
        except NoSuchJobError:  # deleted or expired while it waited
            self.connection.lrem(names.popped(lane.name), 1, job_id)
            return None

    def _compute(self, run: Run) -> None:
        try:
            limits = self._limits(run.job)
            message = {"job": run.job.id, "lane": run.job.origin, "execution": run.execution, "request": _request(run)}
        except LigError as error:
            self._moves.fail(run.place, run.job, error)
            return
        supervision = Supervision(
            run,
            self._process,
            self._brief,
            lease=self._lease,
            limits=limits,
            patience=self._patience,
            keep_house=self._keep_house,
        )
        try:
            self._process.send(message)
            ended = supervision.until_it_ends()
        except ProcessDied:
            ended = Ended(None, None)
        self.settle(run, ended)

    def settle(self, run: Run, ended: Ended) -> None:
        """Write what came of a run. Where the lease was lost, none of this has an effect."""
        job, answer = run.job, ended.answer or {}
        if "pointer" in answer:
            held = self._moves.finish(run, answer["pointer"])
        elif "error" in answer:
            held = self._moves.fail(run.place, job, answer["error"])
        else:
            held = self._settle_stopped(run, ended.stop)
        if not held:
            log.warning("job %s: taken over by another worker; what this run made of it is dropped", job.id)

    def _settle_stopped(self, run: Run, stop: Stop | None) -> bool:
        job = run.job
        if stop is Stop.CANCELLED:
            return self._moves.cancel(run.place, job)
        if stop is Stop.DRAINED:
            return self._moves.give_back(run.place, job)
        if stop in (Stop.RUN_TIME, Stop.TOTAL_TIME):
            limit = f"after {job.timeout} s of running" if stop is Stop.RUN_TIME else "at its deadline"
            error = JobTimedOut(f"stopped {limit}; ask for fewer layers, targets or maps, or a shorter text")
            return self._moves.fail(run.place, job, error)
        if stop is Stop.LEASE_LOST:
            return False
        log.warning("job %s: the process with the models died", job.id)
        return self._moves.crashed(run.place, job)

    def _limits(self, job: Job) -> dict[Stop, float]:
        """Seconds the run may take from now; raises JobTimedOut where the job waited too long to start."""
        limits = {Stop.RUN_TIME: float(job.timeout)} if job.timeout and job.timeout > 0 else {}
        start_by, end_by = job.meta.get(names.START_BY), job.meta.get(names.END_BY)
        if start_by is None and end_by is None:
            return limits
        time_there = server_time(self.connection)
        if any(deadline is not None and time_there > deadline for deadline in (start_by, end_by)):
            raise JobTimedOut("it waited longer than a job may before a worker was free; send it again, or add workers")
        if end_by is not None:
            limits[Stop.TOTAL_TIME] = end_by - time_there
        return limits

    def _patience(self) -> float | None:
        return None if self._drain_from is None else self._drain_from + self._drain_grace - time.monotonic()

    def _while_loading(self) -> bool:
        self._keep_house()
        return not self.draining

    def _keep_house(self) -> None:
        if time.monotonic() > self._alive_until:
            self.heartbeat()
        if self.should_run_maintenance_tasks:
            self.run_maintenance_tasks()


def _request(run: Run) -> Any:
    job = run.job
    try:
        (request,) = job.args
        name = job.func_name
    except Exception:
        raise JobNotAllowed(f"job {job.id} cannot be read") from None
    if name != names.TASK or job.kwargs or job.instance is not None:
        raise JobNotAllowed(f"job {job.id} names a task that this worker does not have")
    return request
