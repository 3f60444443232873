"""Gives back what dead workers held, and forgets what expired. Any worker may do it, several at once too."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from lig_core.serving.queue import names
from lig_core.serving.queue.moves import Moves, Place
from lig_core.serving.queue.redis_faults import damaged, queue_damaged
from lig_core.serving.queue.scripts import Scripts

POPPED_GRACE_SECONDS = 10.0
"""How long a computation may be between the queue and its start; longer, and the worker that took it must have died."""
ASIDE = "alien"
"""Added to the name of a key that was found with a type that no key of that name has here."""
HEAL_SECONDS = 60
"""How often the backlog is counted anew."""

log = logging.getLogger(__name__)


def tidy(redis: Redis, queue: str, time: float, *, leases_count: bool = True) -> None:
    """One round, of what was over at the server's `time`: what Redis is busy with meanwhile makes nothing late.

    `leases_count`: whether at that time whoever lives had been able to renew its leases.
    """
    set_aside(redis, queue, keys_of_queue(queue))
    if leases_count:
        take_over(redis, queue, time)
    give_back_popped(redis, queue, time)
    for kind in ("finished", "failed", "canceled", "dead"):
        redis.zremrangebyscore(names.key(kind, queue), "-inf", time)
    Scripts(redis, queue).call("upkeep/heal", every=HEAL_SECONDS)


def take_over(redis: Redis, queue: str, time: float) -> None:
    """Run again, or give up, the computations whose lease ended."""
    moves, leases = Moves(redis, queue), names.key("leases", queue)
    for member in _overdue(redis, leases, time):
        computation = member.partition(":")[0]
        with _damage_ends(moves, computation):
            if moves.crashed(Place(leases, member, latest=time), computation, abandoned=True):
                log.warning("its worker gave no sign of life, so the job was taken over", extra={"job_id": computation})


def give_back_popped(redis: Redis, queue: str, time: float) -> None:
    """Queue again the computations that a worker took and did not start."""
    moves, popped = Moves(redis, queue), names.key("popped", queue)
    latest = time - POPPED_GRACE_SECONDS
    for computation in _overdue(redis, popped, latest):
        with _damage_ends(moves, computation):
            if moves.give_back(Place(popped, computation, latest), computation, started=False):
                log.warning("taken and never started, so it was queued again", extra={"job_id": computation})


def set_aside(redis: Redis, queue: str, keys: Mapping[str, str]) -> None:
    """Rename what is of another type than `keys` says: no script works with it, and nobody's data are lost."""
    expected = [{"key": key, "type": of, "aside": f"{key}:{ASIDE}"} for key, of in keys.items()]
    for key, of in Scripts(redis, queue).call("upkeep/set_aside", keys=expected):
        log.error(
            "'%s' in Redis was a %s and not this service's; it is now '%s:%s'", *map(_text, (key, of, key)), ASIDE
        )


def keys_of_queue(queue: str) -> dict[str, str]:
    """Every key that there is one of for a queue, and its type."""
    lines = {names.key("line", queue, priority): "zset" for priority in names.PRIORITIES}
    return {names.key(kind, queue): of for kind, of in names.TYPES_OF_QUEUE.items()} | lines


def keys_of_owner(queue: str, owner: str) -> dict[str, str]:
    """The same for an owner."""
    return {names.key(kind, queue, owner): of for kind, of in (("jobs", "zset"), ("live", "set"), ("limits", "hash"))}


def _overdue(redis: Redis, key: str, time: float) -> Iterator[str]:
    """The members of a sorted set up to a time; those that are no text are nobody's here, and taken out."""
    members: Any = redis.zrangebyscore(key, "-inf", time)
    for raw in members:
        try:
            yield raw.decode()
        except UnicodeDecodeError:
            redis.zrem(key, raw)


@contextlib.contextmanager
def _damage_ends(moves: Moves, computation: str) -> Iterator[None]:
    """One that cannot be moved because of what is stored of it must not keep others from being moved."""
    try:
        yield
    except (RedisError, ValueError) as error:
        if isinstance(error, RedisError) and (not damaged(error) or queue_damaged(error)):
            raise
        moves.spoil(computation)


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def server_time(redis: Redis) -> float:
    """Seconds since the epoch by the server's clock."""
    seconds, microseconds = redis.time()
    return float(seconds) + microseconds / 1e6
