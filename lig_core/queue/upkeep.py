"""Gives back what dead workers held, and forgets what expired. Any worker may do it, several at once too."""

from __future__ import annotations

import logging
from typing import Any

from redis import Redis

from lig_core.queue import names
from lig_core.queue.moves import Moves, Place
from lig_core.queue.scripts import Scripts

POPPED_GRACE_SECONDS = 10.0
"""How long a computation may be between the queue and its start; longer, and the worker that took it must have died."""
HEAL_SECONDS = 60
"""How often the backlog is counted anew."""

log = logging.getLogger(__name__)


def tidy(redis: Redis, queue: str) -> None:
    """One round."""
    time = server_time(redis)
    take_over(redis, queue, time)
    give_back_popped(redis, queue, time)
    for kind in ("finished", "failed", "canceled", "dead"):
        redis.zremrangebyscore(names.key(kind, queue), 0, time)
    Scripts(redis, queue).call("heal", every=HEAL_SECONDS)


def take_over(redis: Redis, queue: str, time: float) -> None:
    """Run again, or give up, the computations whose lease ended."""
    moves, leases = Moves(redis, queue), names.key("leases", queue)
    expired: Any = redis.zrangebyscore(leases, 0, time)
    for raw in expired:
        member = raw.decode()
        computation = member.partition(":")[0]
        if moves.crashed(Place(leases, member, latest=time), computation, abandoned=True):
            log.warning("its worker gave no sign of life, so the job was taken over", extra={"job_id": computation})


def give_back_popped(redis: Redis, queue: str, time: float) -> None:
    """Queue again the computations that a worker took and did not start."""
    moves, popped = Moves(redis, queue), names.key("popped", queue)
    latest = time - POPPED_GRACE_SECONDS
    stuck: Any = redis.zrangebyscore(popped, 0, latest)
    for raw in stuck:
        computation = raw.decode()
        if moves.give_back(Place(popped, computation, latest), computation, started=False):
            log.warning("taken and never started, so it was queued again", extra={"job_id": computation})


def server_time(redis: Redis) -> float:
    """Seconds since the epoch by the server's clock."""
    seconds, microseconds = redis.time()
    return float(seconds) + microseconds / 1e6
