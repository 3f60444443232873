"""The worker: takes jobs off the queue, has them computed by the process with the models, and writes what came of it.

A small process without torch, one per device. It is RQ's Worker in what others see of it (its registration, its
signs of life, the queues), with the taking and running of jobs replaced: every move of a job is one of
`lig_core.queue.moves`, and nothing that Redis names is ever imported or called.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Queue, Worker
from rq.job import Job
from rq.utils import now
from rq.worker import WorkerStatus
from rq.worker_registration import clean_worker_registry

from lig_core import logs
from lig_core.errors import LigError
from lig_core.queue import names
from lig_core.queue.errors import JobTimedOut
from lig_core.queue.moves import Done, Moves, Place, Run, Started
from lig_core.queue.upkeep import tidy
from worker.process import ModelProcess, ProcessDied
from worker.stopping import Stopping
from worker.supervision import RENEWALS_PER_LEASE, Ended, Stop, Supervision

ALIVE_SECONDS = 30
"""How long a worker counts as alive without saying so."""
WAIT_SECONDS = 0.5
"""How long one wait at the bell lasts; so long may it take to notice that the worker is to stop."""
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
        queue: Queue,
        process: ModelProcess,
        redis: Redis,
        brief: Redis,
        *,
        lease: float,
        stopping: Stopping,
    ) -> None:
        self._process, self._brief = process, brief
        self._moves = Moves(redis, queue.name)
        self._lease, self._stopping = lease, stopping
        self._alive_until = 0.0
        super().__init__(
            [queue],
            connection=redis,
            serializer="json",
            maintenance_interval=lease / RENEWALS_PER_LEASE,
            log_job_description=False,
        )

    @property
    def draining(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.asked

    def _install_signal_handlers(self) -> None:
        """RQ's own would log and look at Redis in the middle of anything; `Stopping` has the signals."""

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
        """Run one computation that was taken, and write its outcome."""
        if self.draining:
            self._moves.give_back(Place(names.key("popped", queue.name), job.id), job.id, started=False)
            return
        run = Run(queue.name, job.id, uuid.uuid4().hex)
        started = self._moves.start(run, self.name, self._lease)
        if started is None:
            return  # cancelled; or it took so long here that it was given back
        with logs.only_about(**started.about):
            told, begun = {"model": started.fields.get(names.MODEL)}, time.monotonic()
            log.info("job started", extra=told)
            status = self._compute(run, started)
            log.info("job ended", extra={**told, "status": status, "seconds": round(time.monotonic() - begun, 3)})
        self.set_state(WorkerStatus.IDLE)

    def clean_registries(self) -> None:
        """Give back what dead workers held. Several workers may do so at once, for the moves are fenced."""
        for queue in self.queues:
            tidy(self._brief, queue.name)
            clean_worker_registry(queue)
        self.last_cleaned_at = now()

    def clean_group_registries(self) -> None:
        """There are no groups."""

    def teardown(self) -> None:
        """End the process, and say goodbye."""
        self._process.close()
        super().teardown()

    def _take(self, *, wait: bool) -> tuple[Job, Queue] | None:
        (queue,) = self.queues
        holds = [(held["model"], held["dtype"]) for held in self._process.holds.get("models", [])]
        computation = self._moves.take(holds)
        if computation is None and wait:
            self._moves.wait(WAIT_SECONDS)
            computation = self._moves.take(holds)
        if computation is None:
            return None
        return Job(computation, connection=self.connection, serializer="json"), queue

    def _compute(self, run: Run, started: Started) -> str:
        try:
            limits = _limits(started)
            message = {
                "queue": run.queue,
                "computation": run.computation,
                "execution": run.execution,
                "request": _request(started.job),
                "model": _model(started),
                "about": started.about,
            }
        except LigError as error:
            self._moves.fail(run.place, run.computation, error)
            return "failed"
        try:
            self._process.send(message)
            self.set_state(WorkerStatus.BUSY)
            ended = Supervision(
                run,
                self._process,
                self._brief,
                lease=self._lease,
                limits=limits,
                patience=self._stopping.patience,
                keep_house=self._keep_house,
            ).until_it_ends()
        except ProcessDied:
            ended = Ended(None, None)
        return self.settle(run, ended, limits)

    def settle(self, run: Run, ended: Ended, limits: Mapping[Stop, float]) -> str:
        """Write what came of a run, and say it in a word. Where the lease was lost, none of this has an effect."""
        answer = ended.answer or {}
        if "done" in answer:
            status, held = "succeeded", self._moves.finish(run, Done(**answer["done"]))
        elif "error" in answer:
            status, held = "failed", self._moves.fail(run.place, run.computation, answer["error"])
        else:
            status, held = self._settle_stopped(run, ended, limits)
        if not held:
            log.warning("taken over by another worker; what this run made of it is dropped")
        return status if held else "dropped"

    def _settle_stopped(self, run: Run, ended: Ended, limits: Mapping[Stop, float]) -> tuple[str, bool]:
        stop, computation = ended.stop, run.computation
        if stop is Stop.CANCELLED:
            return "cancelled", self._moves.cancel(run.place, computation)
        if stop is Stop.DRAINED:
            return "given_back", self._moves.give_back(run.place, computation, started=True)
        if stop in (Stop.RUN_TIME, Stop.TOTAL_TIME):
            limit = f"after {limits[stop]:.0f} s of running" if stop is Stop.RUN_TIME else "at its deadline"
            error = JobTimedOut(f"stopped {limit}; ask for fewer layers, targets or maps, or a shorter text")
            return "failed", self._moves.fail(run.place, computation, error)
        if stop is Stop.LEASE_LOST or (ended.answer is not None and not self._moves.holds(run)):
            return "dropped", False
        log.warning("the process with the models died")
        return "crashed", self._moves.crashed(run.place, computation)

    def _while_loading(self) -> bool:
        self._keep_house()
        return not self.draining

    def _keep_house(self) -> None:
        with logs.only_about():  # it is not about the job under way
            if time.monotonic() > self._alive_until:
                self.heartbeat()
            if self.should_run_maintenance_tasks:
                self.run_maintenance_tasks()


def _limits(started: Started) -> dict[Stop, float]:
    """Seconds the run may take from now; raises JobTimedOut where the job waited too long to start."""
    timeout = started.job.timeout
    limits = {Stop.RUN_TIME: float(timeout)} if timeout and timeout > 0 else {}
    deadlines = {name: float(started.fields[name]) for name in (names.START_BY, names.END_BY) if name in started.fields}
    if any(started.time > deadline for deadline in deadlines.values()):
        raise JobTimedOut("it waited longer than a job may before a worker was free; send it again, or add workers")
    if names.END_BY in deadlines:
        limits[Stop.TOTAL_TIME] = deadlines[names.END_BY] - started.time
    return limits


def _model(started: Started) -> dict[str, Any]:
    """What the job was accepted with."""
    reference = started.fields.get(names.REFERENCE)
    return {
        "reference": orjson.loads(reference) if reference else None,
        "identity": started.fields.get(names.IDENTITY),
    }


def _request(job: Job) -> Any:
    try:
        (request,) = job.args
        name = job.func_name
    except Exception:
        raise JobNotAllowed(f"job {job.id} cannot be read") from None
    if name != names.TASK or job.kwargs or job.instance is not None:
        raise JobNotAllowed(f"job {job.id} names a task that this worker does not have")
    return request
