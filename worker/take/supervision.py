"""Watches over jobs while the process with the models computes them: leases, cancelling, deadlines, draining."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from lig_core.serving.queue import names
from lig_core.serving.queue.moves import Moves, Run
from lig_core.serving.queue.names import Field
from worker.patience import complain
from worker.take.model_process import ModelProcess, ProcessDied

TICK_SECONDS = 0.2
"""How often cancelling is looked for."""
RENEWALS_PER_LEASE = 6
RETRY_SECONDS = 1.0
"""How long after a fault of Redis a lease is renewed again."""
KILL_AFTER_SECONDS = 1.4
"""How long after the polite request the process is killed if it does not stop its job (a model that loads, a native
call that does not come back): together with a tick, a cancelled job has stopped within two seconds."""

log = logging.getLogger(__name__)


class Stop(Enum):
    """Why a run was stopped."""

    CANCELLED = auto()
    RUN_TIME = auto()
    TOTAL_TIME = auto()
    DRAINED = auto()
    LEASE_LOST = auto()
    NOT_SENT = auto()  # the process had died before it got the job
    HELD_UP = auto()  # together with others it took longer than it may: it is to run alone


@dataclass(frozen=True)
class Ended:
    """How a run ended: what the process answered, or None if it died; and why it had been stopped, if it was."""

    answer: dict[str, Any] | None
    stop: Stop | None


@dataclass
class _Watched:
    """A run under way; `told`: its end was told while others went on."""

    run: Run
    deadlines: dict[Stop, float]
    stop: Stop | None = None
    told: bool = False


class Supervision:
    """Some runs that the process was given together, or one, each with the seconds that it may take.

    One that is stopped while others go on ends at once: the process drops it when it next stores something of it, for
    its lease is gone. The process itself is stopped once nothing that it was given goes on. `patience` are seconds
    until drained, None while nobody asked; `keep_house` is done with renewals.
    """

    def __init__(
        self,
        limits: Mapping[Run, Mapping[Stop, float]],
        process: ModelProcess,
        redis: Redis,
        moves: Moves,
        *,
        lease: float,
        patience: Callable[[], float | None],
        keep_house: Callable[[], None],
    ) -> None:
        self._process, self._redis, self._moves, self._lease = process, redis, moves, lease
        self._patience, self._keep_house = patience, keep_house
        started = time.monotonic()
        self._unanswered = {
            run.execution: _Watched(run, {stop: started + seconds for stop, seconds in own.items()})
            for run, own in limits.items()
        }
        self._overrun = Stop.HELD_UP if len(limits) > 1 else Stop.RUN_TIME
        self._renew_at, self._asked_at = started + lease / RENEWALS_PER_LEASE, started
        self._stopped_at: float | None = None

    def ends(self) -> Iterator[tuple[Run, Ended]]:
        """Each run as it ends, whether the process answers, dies, or is stopped where there is reason to."""
        try:
            while self._unanswered:
                reply = self._process.reply(TICK_SECONDS)
                if reply is not None:
                    watched = self._unanswered.pop(reply[0])
                    if not watched.told:
                        yield watched.run, Ended(reply[1], watched.stop)
                    continue
                self._renew()
                for watched in self._going_on:
                    watched.stop = self._reason_to_stop(watched)
                if not self._going_on:
                    self._insist()
                    continue
                for watched in self._unanswered.values():
                    if watched.stop is not None and not watched.told:
                        watched.told = True
                        yield watched.run, Ended(None, watched.stop)
        except ProcessDied:
            # The last one first: each that goes back to the head of the queue goes before those that did already.
            for watched in reversed(self._unanswered.values()):
                if not watched.told:
                    yield watched.run, Ended(None, watched.stop)

    @property
    def _going_on(self) -> list[_Watched]:
        return [watched for watched in self._unanswered.values() if watched.stop is None]

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + self._lease / RENEWALS_PER_LEASE
        try:
            for watched in self._unanswered.values():
                if not watched.told and not self._moves.renew(watched.run, self._lease) and watched.stop is None:
                    watched.stop = Stop.LEASE_LOST
                    log.warning("the lease was lost, so this run is dropped", extra={"job_id": watched.run.computation})
        except RedisError as error:
            complain(error)
            self._renew_at = time.monotonic() + RETRY_SECONDS
            for watched in self._unanswered.values():
                if Stop.RUN_TIME in watched.deadlines:  # what it waits for Redis is no running time
                    watched.deadlines[Stop.RUN_TIME] += time.monotonic() - self._asked_at
        else:
            self._keep_house()
        self._asked_at = time.monotonic()

    def _reason_to_stop(self, watched: _Watched) -> Stop | None:
        for stop, deadline in watched.deadlines.items():
            if time.monotonic() > deadline:
                return self._overrun if stop is Stop.RUN_TIME else stop
        patience = self._patience()
        if patience is not None and patience <= 0:
            return Stop.DRAINED
        try:
            key = names.key("computation", watched.run.queue, watched.run.computation)
            return Stop.CANCELLED if self._redis.hexists(key, Field.CANCEL_REQUESTED) else None
        except RedisError:
            return None  # asked again in a moment

    def _insist(self) -> None:
        """Ask the process to stop, and end it where it does not."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._process.interrupt()
        elif time.monotonic() - self._stopped_at > KILL_AFTER_SECONDS:
            self._process.kill()
            raise ProcessDied
