"""The kinds of faults. What one hits is drawn; how long it lasts says within what time another falls into it."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from tests.faults.points import CHILD_POINTS, WORKER_POINTS
from tests.faults.server import RedisServer
from tests.faults.stack import Member, Stack

PAST_THE_LEASE = 1.7
"""Leases that a frozen worker is silent for."""
POINT_SECONDS = 5.0
"""How long a process is given to come to the point at which it is to die."""
RESTART_SECONDS = 2.0
"""About how long a killed process is missed."""
STATE_SECONDS = 4.0
"""How long Redis is in a state."""
STUTTER = (0.35, 8)
"""How long a stuttering worker is frozen each time, and how often."""


@dataclass(frozen=True)
class Fault:
    """One kind; `hit` returns when it is over."""

    name: str
    seconds: float
    hit: Callable[[Random], None]


@dataclass(frozen=True)
class Victims:
    """Whom faults that end a process may hit; everyone may be frozen."""

    workers: Sequence[Member]
    models: Sequence[Member]  # workers whose process with the models may be killed
    apis: Sequence[Member]

    @classmethod
    def all_of(cls, stack: Stack) -> Victims:
        return cls(stack.workers, stack.workers, stack.apis)


def all_faults(stack: Stack, victims: Victims | None = None, *, scripted: bool = True) -> list[Fault]:
    """Every kind there is; those at points need the scripted worker."""
    victims = victims or Victims.all_of(stack)
    frozen = stack.lease * PAST_THE_LEASE
    return [
        *(_at_points(stack) if scripted else ()),
        Fault("process with models killed", RESTART_SECONDS, partial(_kill_models, stack, victims)),
        Fault("worker killed", RESTART_SECONDS, partial(_kill_worker, stack, victims)),
        Fault("worker frozen past its lease", frozen, partial(_freeze, stack, frozen, False)),
        Fault("worker and models frozen past the lease", frozen, partial(_freeze, stack, frozen, True)),
        Fault("worker frozen for 0.35 s again and again", 2 * STUTTER[0] * STUTTER[1], partial(stutter, stack)),
        Fault("API killed", RESTART_SECONDS, lambda dice: dice.choice(victims.apis).kill()),
        Fault("all connections to Redis cut", 0.0, lambda dice: stack.redis.cut_connections()),
        Fault("Redis killed and started again", STATE_SECONDS / 2, partial(_restart, stack.redis)),
        Fault("Redis restarted as the models die", RESTART_SECONDS, partial(_restart_as_models_die, stack, victims)),
        _state("Redis frozen", stack.redis.frozen),
        _state("Redis full", stack.redis.full),
        _state("Redis read-only", stack.redis.read_only),
    ]


def _at_points(stack: Stack) -> Iterator[Fault]:
    for who, names in (("process with models", CHILD_POINTS), ("worker", WORKER_POINTS)):
        for name in names:
            yield Fault(f"{who} killed at '{name}'", RESTART_SECONDS, partial(_die_at, stack, name))


def _die_at(stack: Stack, point: str, dice: Random) -> None:
    stack.points.arm(point)
    deadline = time.monotonic() + POINT_SECONDS
    while stack.points.armed(point) and time.monotonic() < deadline:
        time.sleep(0.02)
    stack.points.disarm(point)


def _kill_models(stack: Stack, victims: Victims, dice: Random) -> None:
    models = dice.choice(victims.models).child()
    if models is not None:
        stack.points.note("killed models", "", models.pid)
        with contextlib.suppress(Exception):
            models.kill()


def _kill_worker(stack: Stack, victims: Victims, dice: Random) -> None:
    worker = dice.choice(victims.workers)
    models = worker.child()
    stack.points.note("killed worker", "", models.pid if models else 0)
    worker.kill()


def _freeze(stack: Stack, seconds: float, both: bool, dice: Random) -> None:
    worker = dice.choice(stack.workers)
    models = worker.child()
    process = worker.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    with contextlib.suppress(Exception):
        if both and models is not None:
            models.suspend()
    stack.points.note("frozen", "", models.pid if models else 0)
    time.sleep(seconds)
    with contextlib.suppress(Exception):
        if both and models is not None:
            models.resume()
    process.send_signal(signal.SIGCONT)


def stutter(stack: Stack, dice: Random) -> None:
    """Freeze a worker for a moment, again and again."""
    worker = dice.choice(stack.workers)
    seconds, times = STUTTER
    for _ in range(times):
        process = worker.process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)
        time.sleep(2 * seconds * dice.random())


def _restart(redis: RedisServer, dice: Random) -> None:
    redis.restart(dice.uniform(0.2, STATE_SECONDS))


def _restart_as_models_die(stack: Stack, victims: Victims, dice: Random) -> None:
    _kill_models(stack, victims, dice)
    time.sleep(dice.uniform(0, RESTART_SECONDS / 2))
    _restart(stack.redis, dice)


def _state(name: str, state: Callable[[], contextlib.AbstractContextManager[None]]) -> Fault:
    def hit(dice: Random) -> None:
        with state():
            time.sleep(STATE_SECONDS)

    return Fault(f"{name} for {STATE_SECONDS:.0f} s", STATE_SECONDS, hit)
