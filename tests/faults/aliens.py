"""Entries that no API put into Redis, of three sorts. None of them may end a worker, or keep a job from running."""

from __future__ import annotations

import json
import time
import zlib

from redis import Redis

from lig_core.serving.queue.names import Field
from tests.faults import keys

GARBAGE = b"\xff\xfe\x80\x04"


def without_computation(redis: Redis) -> None:
    """Members of the queue's sets that name nothing, some of them no text."""
    for member in (b"alien", b"alien:attempt", b"", GARBAGE):
        redis.zadd(keys.of_queue("waiting"), {member: 0})
        redis.zadd(keys.of_queue("popped"), {member: 0})
        redis.zadd(keys.of_queue("leases"), {member: 0})
    redis.sadd(keys.of_queue("workers"), "alien", GARBAGE)
    redis.rpush(keys.of_queue("bell"), GARBAGE)
    redis.publish(keys.of("channel", "alien"), GARBAGE)


def unreadable(redis: Redis) -> None:
    """Computations that look accepted, and hold what cannot be read or must not be run."""
    good = {"created_at": "2026-01-01T00:00:00.000000Z", "timeout": "60", "status": "queued"}
    calls = zlib.compress(json.dumps(["os.system", None, ["true"], {}]).encode())
    _queued(redis, "no-data", good)
    _queued(redis, "garbage", {**good, "data": GARBAGE})
    _queued(redis, "pickled", {**good, "data": zlib.compress(b"\x80\x04]\x94.")})
    _queued(redis, "another-task", {**good, "data": calls})
    _queued(redis, "no-text", {**good, "data": calls, Field.MODEL: GARBAGE, Field.TRACEPARENT: GARBAGE})
    _queued(redis, "no-numbers", {**good, "data": calls, "timeout": "soon", Field.START_BY: "x", Field.ATTEMPTS: "x"})
    _queued(redis, "no-time", {**good, "data": calls, "created_at": "then"})
    redis.hset(keys.of("computation", "bare"), mapping={"status": "queued"})
    redis.zadd(keys.of_queue("waiting"), {"bare": 0})


def of_another_type(redis: Redis) -> None:
    """Keys that are strings where hashes are expected."""
    for kind in ("computation", "events", "claims"):
        redis.set(keys.of(kind, "string"), GARBAGE)
    redis.zadd(keys.of_queue("waiting"), {"string": 0})
    redis.zadd(keys.of_queue("leases"), {"string:attempt": 0})
    redis.zadd(keys.of_queue("popped"), {"string": 0})


def _queued(redis: Redis, name: str, fields: dict[str, str | bytes]) -> None:
    """As it must look for a worker to start it."""
    own = {"origin": keys.QUEUE, "queued": str(time.time()), "digest": name, "flow": "anonymous:bulk", "cost": "1"}
    times = dict.fromkeys(("result_ttl", "failure_ttl", "expired_ttl"), "60")
    redis.hset(keys.of("computation", name), mapping={**own, **times, "weight": "1", "retries_left": "0", **fields})
    redis.zadd(keys.of_queue("waiting"), {name: 0})
