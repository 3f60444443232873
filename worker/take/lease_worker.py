"""The worker: takes jobs off the queue, has them computed by the process with the models, and writes what came of it.

A small process without torch, one per device. Every move of a job is one of `lig_core.serving.queue.moves`, and
nothing that Redis names is ever imported or called. No fault of Redis ends it or fails a job: it waits, says so, and
goes on.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import RedisError

from lig_core.errors import LigError
from lig_core.serving import logs
from lig_core.serving.queue import names
from lig_core.serving.queue.job_errors import JobDamaged, JobTimedOut
from lig_core.serving.queue.moves import Done, Moves, Place, Run, Started
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.redis_faults import damaged, queue_damaged
from lig_core.serving.queue.upkeep import keys_of_queue, server_time, set_aside, tidy
from worker.patience import complain, patiently
from worker.take.model_process import ModelProcess, ProcessDied
from worker.take.registration import ALIVE_SECONDS, Registration, WorkerState
from worker.take.stopping import Stopping
from worker.take.supervision import RENEWALS_PER_LEASE, Ended, Stop, Supervision

WAIT_SECONDS = 0.5
"""How long one wait at the bell lasts; so long may it take to notice that the worker is to stop."""
RETRY_SECONDS = 1.0
"""How long after a fault of Redis housekeeping waits."""

log = logging.getLogger(__name__)


class JobNotAllowed(LigError):
    """A job that no API queued."""

    code = "job_not_allowed"
    title = "The job is not one of this service"


@dataclass(frozen=True)
class Begun:
    """A run under way: what the process is told of it, as JSON, and the seconds that it may take."""

    run: Run
    started: Started
    asked: bytes
    limits: dict[Stop, float]
    at: float

    @property
    def model(self) -> str | None:
        """The model's name."""
        return self.started.fields.get(Field.MODEL)


class LeaseWorker:
    """One worker with one process. `redis` is for moves, `brief` for what must not take long while a job runs."""

    def __init__(
        self,
        queue: str,
        process: ModelProcess,
        redis: Redis,
        brief: Redis,
        *,
        lease: float,
        stopping: Stopping,
    ) -> None:
        self._queue, self._process, self._redis, self._brief = queue, process, redis, brief
        self._moves, self._brief_moves = Moves(redis, queue), Moves(brief, queue)
        self._registration = Registration(brief, queue)
        self._lease, self._stopping = lease, stopping
        self._state = WorkerState.STARTED
        self._sign_at = self._tidy_at = 0.0
        # Since when Redis did whatever it was asked, and when that was last.
        self._steady_since, self._answered_at = math.inf, 0.0

    @property
    def draining(self) -> bool:
        """True once it was asked to stop."""
        return self._stopping.asked

    def work(self, *, burst: bool = False) -> None:
        """Take and run jobs until it was asked to stop; `burst` stops when the queue is empty. Raises Unfit."""
        try:
            while (computation := self.take(wait=not burst)) is not None:
                try:
                    self.run(computation)
                except RedisError as error:  # asked to stop, it could not wait any longer
                    log.warning("left as it is (%s); it will be run again", error, extra={"job_id": computation})
                except Exception:
                    log.exception("left as it is; it will be run again", extra={"job_id": computation})
        finally:
            self._process.close()
            self._say_goodbye()

    def take(self, *, wait: bool) -> str | None:
        """The next computation, once there is one and the process with the models is ready for it; None to stop."""
        while not self.draining:
            self._keep_house()
            if not self._process.make_ready(self._while_loading):
                break
            try:
                taken = patiently(self._take_or_wait if wait else self._take, lambda: not self.draining)
            except RedisError as error:
                if damaged(error):
                    time.sleep(RETRY_SECONDS)
                    with contextlib.suppress(RedisError):  # asked to stop
                        self._mend(error)
                continue
            if taken is not None or not wait:
                return taken
        return None

    def run(self, computation: str) -> None:
        """Run one computation that was taken, with such as share its sequence, and write what comes of each."""
        if self.draining:
            popped = Place(names.key("popped", self._queue), computation)
            run = self._new_run(computation)
            self._move(run, lambda: self._moves.give_back(popped, computation, started=False))
            return
        first = self._begin(computation)
        if first is None:
            return
        others = map(self._begin, self._taken_along(first.started))
        begun = {each.run: each for each in (first, *others) if each is not None}
        for run, ended in self._ends(list(begun.values())):
            self._end(begun[run], ended)
        self._say(WorkerState.IDLE)

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

    def _take(self) -> str | None:
        holds = [(held["model"], held["dtype"]) for held in self._process.holds.get("models", [])]
        return self._moves.take(holds)

    def _take_or_wait(self) -> str | None:
        taken = self._take()
        if taken is None:
            self._moves.wait(WAIT_SECONDS)
        return taken

    def _begin(self, computation: str) -> Begun | None:
        """Start a computation that was taken; None where it does not start, or fails of how it is stored."""
        run = self._new_run(computation)
        try:
            started = self._move(run, lambda: self._moves.start(run, self._registration.name, self._lease))
        except JobDamaged:
            self._spoil(run)
            return None
        if started is None:
            return None  # cancelled, or damaged; or it took so long here that it was given back
        at = time.monotonic()
        with logs.only_about(**started.about):
            log.info("job started", extra={"model": started.fields.get(Field.MODEL)})
            try:
                return Begun(run, started, _asked(started), _limits(started), at)
            except (LigError, TypeError, ValueError) as error:
                # What is no number where there should be one, say.
                damage = JobDamaged(f"what is stored of it cannot be read ({type(error).__name__}); send it again")
                document = (error if isinstance(error, LigError) else damage).as_dict()
        self._end(Begun(run, started, b"", {}, at), Ended({"error": document}, None))
        return None

    def _taken_along(self, first: Started) -> Iterable[str]:
        """Computations that go into one sequence with one that never ran; the others of its kind are run alone."""
        if not first.may_share or self.draining:
            return ()
        try:
            return self._moves.take_along(first.job.id)
        except RedisError as error:
            complain(error)
            return ()

    def _ends(self, begun: list[Begun]) -> Iterator[tuple[Run, Ended]]:
        try:
            self._process.send({each.run.execution: each.asked for each in begun})
        except ProcessDied:
            return iter([(each.run, Ended(None, Stop.NOT_SENT)) for each in reversed(begun)])
        self._say(WorkerState.BUSY)
        return Supervision(
            {each.run: each.limits for each in begun},
            self._process,
            self._brief,
            self._brief_moves,
            lease=self._lease,
            patience=self._stopping.patience,
            keep_house=self._keep_house,
        ).ends()

    def _end(self, begun: Begun, ended: Ended) -> None:
        """Write what came of a run, and count it."""
        with logs.only_about(**begun.started.about):
            status = self._move(begun.run, lambda: self.settle(begun.run, ended, begun.limits)) or "failed"
            self._registration.count(status)
            seconds = round(time.monotonic() - begun.at, 3)
            log.info("job ended", extra={"model": begun.model, "status": status, "seconds": seconds})

    def _new_run(self, computation: str) -> Run:
        return Run(self._queue, computation, uuid.uuid4().hex)

    def _settle_stopped(self, run: Run, ended: Ended, limits: Mapping[Stop, float]) -> tuple[str, bool]:
        stop, computation = ended.stop, run.computation
        if stop is Stop.CANCELLED:
            return "cancelled", self._moves.cancel(run.place, computation)
        if stop in (Stop.DRAINED, Stop.NOT_SENT):
            return "given_back", self._moves.give_back(run.place, computation, started=True)
        if stop is Stop.HELD_UP:
            return "given_back", self._moves.run_alone(run.place, computation)
        if stop in (Stop.RUN_TIME, Stop.TOTAL_TIME):
            limit = f"after {limits[stop]:.0f} s of running" if stop is Stop.RUN_TIME else "at its deadline"
            error = JobTimedOut(f"stopped {limit}; ask for fewer layers, targets or maps, or a shorter text")
            return "failed", self._moves.fail(run.place, computation, error)
        if stop is Stop.LEASE_LOST or (ended.answer is not None and not self._moves.holds(run)):
            return "dropped", False
        log.warning("the process with the models died")
        return "crashed", self._moves.crashed(run.place, computation)

    def _move(self, run: Run, move: Callable[[], Any]) -> Any:
        """Make a move, however long Redis is away; None where what is stored of the computation is damaged, and it
        failed of that. Raises RedisError only where the worker was asked to stop meanwhile."""
        while True:
            try:
                return patiently(move, self._while_moving)
            except RedisError as error:
                if not damaged(error):
                    raise
                self._mend(error)
                if not queue_damaged(error):
                    break
        self._spoil(run)
        return None

    def _mend(self, error: RedisError) -> None:
        """Set aside what is of another type among the queue's own keys."""
        log.error("something in Redis is damaged: %s", error)
        patiently(lambda: set_aside(self._redis, self._queue, keys_of_queue(self._queue)), self._while_moving)

    def _spoil(self, run: Run) -> None:
        try:
            patiently(lambda: self._moves.spoil(run.computation), self._while_moving)
        except RedisError as error:
            if not damaged(error):
                raise
            log.error("damaged, and cannot even be failed: %s", error, extra={"job_id": run.computation})

    def _while_loading(self) -> bool:
        self._keep_house()
        return not self.draining

    def _while_moving(self) -> bool:
        patience = self._stopping.patience()
        return patience is None or patience > 0

    def _say(self, state: WorkerState) -> None:
        self._state = state
        if self._steady:
            self._sign_at = 0.0
            self._keep_house()

    def _keep_house(self) -> None:
        """Signs of life, and what dead workers left. Whatever goes wrong with it goes wrong here alone."""
        with logs.only_about():  # it is not about the job under way
            try:
                self._keep_house_now()
            except RedisError as error:
                complain(error)
                self._put_off()
            except Exception:
                log.exception("housekeeping: trying again")
                self._put_off()

    def _keep_house_now(self) -> None:
        if time.monotonic() >= self._sign_at:
            self._registration.renew(self._state, self._process.holds)
            self._sign_at = time.monotonic() + ALIVE_SECONDS / RENEWALS_PER_LEASE
            self._answered()
        if time.monotonic() >= self._tidy_at:
            now = server_time(self._brief)
            self._answered()
            steady_for = time.monotonic() - self._steady_since
            tidy(self._brief, self._queue, now, leases_count=steady_for >= self._lease + RETRY_SECONDS)
            self._registration.forget_dead()
            self._tidy_at = time.monotonic() + self._lease / RENEWALS_PER_LEASE
            self._answered()

    def _answered(self) -> None:
        # A lease is renewed several times before it ends: where it ended unrenewed because nobody could reach Redis,
        # nobody was answered for most of it.
        now = time.monotonic()
        if not self._steady or now - self._answered_at > self._lease / 2:
            self._steady_since = now
        self._answered_at = now

    def _put_off(self) -> None:
        self._sign_at = self._tidy_at = time.monotonic() + RETRY_SECONDS
        self._steady_since = math.inf

    @property
    def _steady(self) -> bool:
        """True where Redis did what it was asked the last time."""
        return self._steady_since < math.inf

    def _say_goodbye(self) -> None:
        try:
            self._registration.remove()
        except RedisError as error:
            log.warning("not signed off: %s", error)


def _limits(started: Started) -> dict[Stop, float]:
    """Seconds the run may take from now; raises JobTimedOut where the job waited too long to start."""
    timeout = started.job.timeout
    limits = {Stop.RUN_TIME: float(timeout)} if timeout and timeout > 0 else {}
    deadlines = {name: float(started.fields[name]) for name in (Field.START_BY, Field.END_BY) if name in started.fields}
    if any(started.time > deadline for deadline in deadlines.values()):
        raise JobTimedOut("it waited longer than a job may before a worker was free; send it again, or add workers")
    if Field.END_BY in deadlines:
        limits[Stop.TOTAL_TIME] = deadlines[Field.END_BY] - started.time
    return limits


def _asked(started: Started) -> bytes:
    """What the process with the models is told of a run, but for its execution."""
    job = started.job
    try:
        (request,) = job.args
        name = job.func_name
    except Exception:
        raise JobNotAllowed(f"job {job.id} cannot be read") from None
    if name not in names.KIND_OF or job.kwargs or job.instance is not None:
        raise JobNotAllowed(f"job {job.id} names a task that this worker does not have")
    reference = started.fields.get(Field.REFERENCE)
    model = {
        "reference": orjson.loads(reference) if reference else None,
        "identity": started.fields.get(Field.IDENTITY),
    }
    asked = {"computation": job.id, "kind": names.KIND_OF[name], "request": request}
    return orjson.dumps({**asked, "model": model, "about": started.about})
