"""How the queue, the jobs and the workers stand, for monitoring: a few numbers, however long the queue is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from redis import Redis

from lig_core.serving.queue import counters, names
from lig_core.serving.queue.counters import Counters
from service.jobs.job import JobStatus
from service.jobs.redis_rows import number

REGISTRIES: Mapping[JobStatus, tuple[str, ...]] = {
    JobStatus.QUEUED: ("waiting", "popped"),
    JobStatus.RUNNING: ("leases",),
    JobStatus.SUCCEEDED: ("finished",),
    JobStatus.FAILED: ("failed",),
    JobStatus.CANCELLED: ("canceled",),
}
"""Where the computations of each state are, most of them in the first."""
WORKER_STATES = ("idle", "busy", "started", "suspended")
"""RQ's words."""
MOST_MODELS = 50
OTHER_MODELS = ("other", "other")


@dataclass(frozen=True)
class Line:
    """What waits of one priority; `oldest` is when the one that waits longest was accepted."""

    length: int = 0
    cost: float = 0.0  # estimated seconds
    oldest: float | None = None


@dataclass(frozen=True)
class Held:
    """One model in one precision: in how many workers' memory, and the bytes it takes in all of them."""

    copies: int = 0
    size: int = 0

    def __add__(self, other: Held) -> Held:
        return Held(self.copies + other.copies, self.size + other.size)


@dataclass(frozen=True)
class QueueState:
    """All of it; by default, that of a Redis with nothing in it. `time` is by Redis's clock, sizes are bytes."""

    time: float = 0.0
    lines: Mapping[str, Line] = field(default_factory=lambda: dict.fromkeys(names.PRIORITIES, Line()))
    backlog: float = 0.0
    computations: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(REGISTRIES, 0))
    dead_letters: int = 0
    webhooks: int = 0
    workers: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(WORKER_STATES, 0))
    resident: int = 0
    device: int = 0
    models: Mapping[tuple[str, str], Held] = field(default_factory=dict)
    counted: Counters = field(default_factory=lambda: counters.parse({}))


def read(redis: Redis, queue: str) -> QueueState:
    """The state, in two round trips: the second asks the workers that the first one named."""
    lines = [names.key("line", queue, priority) for priority in names.PRIORITIES]
    registries = [names.key(kind, queue) for kinds in REGISTRIES.values() for kind in kinds]
    with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.hgetall(names.key("counters", queue))
        pipe.get(names.key("backlog", queue))
        pipe.hmget(names.key("costs", queue), list(names.PRIORITIES))
        for line in lines:
            pipe.zcard(line)
            pipe.zrange(line, 0, 0, withscores=True)
        for key in (names.key("dead", queue), names.key("webhooks", queue), *registries):
            pipe.zcard(key)
        pipe.smembers(names.key("workers", queue))
        (seconds, microseconds), counted, backlog, costs, *rest, registered = pipe.execute()
        for worker in registered:
            pipe.hmget(worker, "pid", "state", names.HOLDS)
        workers = [told for told in pipe.execute() if told[0] is not None]  # the others have expired
    in_line, (dead, webhooks, *kept) = rest[: 2 * len(lines)], rest[2 * len(lines) :]
    sizes = iter(kept)
    holds = [read_holds(told) for _, _, told in workers]
    return QueueState(
        time=seconds + microseconds / 1e6,
        lines={
            priority: Line(length, number(cost) or 0.0, first[0][1] if first else None)
            for priority, cost, length, first in zip(names.PRIORITIES, costs, in_line[::2], in_line[1::2], strict=True)
        },
        backlog=number(backlog) or 0.0,
        computations={state: sum(next(sizes) for _ in kinds) for state, kinds in REGISTRIES.items()},
        dead_letters=dead,
        webhooks=webhooks,
        workers=_by_state(state for _, state, _ in workers),
        resident=sum(each.get("resident") or 0 for each in holds),
        device=sum(each.get("device") or 0 for each in holds),
        models=_models(holds),
        counted=counters.parse(counted),
    )


def read_holds(told: bytes | None) -> dict[str, Any]:
    """What a worker said it holds; nothing where that cannot be read."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        found = json.loads(told or "{}")
        models = [{"model": m["model"], "dtype": m["dtype"], "bytes": int(m["bytes"])} for m in found.get("models", ())]
        return {"models": models, **{name: found.get(name) for name in ("resident", "device")}}
    return {}


def _by_state(told: Iterable[bytes | None]) -> dict[str, int]:
    found = dict.fromkeys(WORKER_STATES, 0)
    for raw in told:
        state = raw.decode(errors="replace") if raw else "started"
        found[state] = found.get(state, 0) + 1
    return found


def _models(holds: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Held]:
    """By name and dtype, the largest ones; callers choose the names, so there may be many."""
    found: dict[tuple[str, str], Held] = {}
    for each in holds:
        for model in each.get("models", ()):
            key = model["model"], model["dtype"]
            found[key] = found.get(key, Held()) + Held(1, model["bytes"])
    ordered = sorted(found.items(), key=lambda item: -item[1].size)
    shown = dict(ordered[:MOST_MODELS])
    for _, held in ordered[MOST_MODELS:]:
        shown[OTHER_MODELS] = shown.get(OTHER_MODELS, Held()) + held
    return shown
