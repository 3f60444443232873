"""Watches over one job while the process with the models computes it: lease, cancelling, deadlines, draining."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
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


@dataclass(frozen=True)
class Ended:
    """How a run ended: what the process answered, or None if it died; and why it had been stopped, if it was."""

    answer: dict[str, Any] | None
    stop: Stop | None


class Supervision:
    """One run. `patience` are seconds until drained, None while nobody asked; `keep_house` is done with renewals."""

    def __init__(
        self,
        run: Run,
        process: ModelProcess,
        redis: Redis,
        *,
        lease: float,
        limits: dict[Stop, float],
        patience: Callable[[], float | None],
        keep_house: Callable[[], None],
    ) -> None:
        self._run, self._process, self._redis, self._lease = run, process, redis, lease
        self._moves = Moves(redis, run.queue)
        self._patience, self._keep_house = patience, keep_house
        started = time.monotonic()
        self._deadlines = {stop: started + seconds for stop, seconds in limits.items()}
        self._renew_at, self._asked_at = started + lease / RENEWALS_PER_LEASE, started
        self._stop: Stop | None = None
        self._stopped_at = 0.0

    def until_it_ends(self) -> Ended:
        """Wait for the process to answer or die, and stop it where there is reason to."""
        try:
            while True:
                answer = self._process.reply(TICK_SECONDS)
                if answer is not None:
                    return Ended(answer, self._stop)
                self._renew()
                if self._stop is None:
                    self._stop = self._reason_to_stop()
                    if self._stop is not None:
                        self._stopped_at = time.monotonic()
                        self._process.interrupt()
                else:
                    self._insist()
        except ProcessDied:
            return Ended(None, self._stop)

    def _renew(self) -> None:
        if time.monotonic() < self._renew_at:
            return
        self._renew_at = time.monotonic() + self._lease / RENEWALS_PER_LEASE
        try:
            held = self._moves.renew(self._run, self._lease)
        except RedisError as error:
            complain(error)
            self._renew_at = time.monotonic() + RETRY_SECONDS
            if Stop.RUN_TIME in self._deadlines:  # what it waits for Redis is no running time
                self._deadlines[Stop.RUN_TIME] += time.monotonic() - self._asked_at
        else:
            if not held and self._stop is None:
                self._stop, self._stopped_at = Stop.LEASE_LOST, time.monotonic()
                log.warning("the lease was lost, so this run is dropped")
                self._process.interrupt()
            self._keep_house()
        self._asked_at = time.monotonic()

    def _reason_to_stop(self) -> Stop | None:
        for stop, deadline in self._deadlines.items():
            if time.monotonic() > deadline:
                return stop
        patience = self._patience()
        if patience is not None and patience <= 0:
            return Stop.DRAINED
        try:
            key = names.key("computation", self._run.queue, self._run.computation)
            return Stop.CANCELLED if self._redis.hexists(key, Field.CANCEL_REQUESTED) else None
        except RedisError:
            return None  # asked again in a moment

    def _insist(self) -> None:
        if time.monotonic() - self._stopped_at > KILL_AFTER_SECONDS:
            self._process.kill()
            raise ProcessDied
