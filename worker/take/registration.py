"""How a worker is known to be there: a hash that expires unless the worker lives, named in a set of its queue.

Laid out as RQ does it, so that the service and RQ's own tools see the workers.
"""

from __future__ import annotations

import os
import socket
import sys
import uuid
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import orjson
from redis import Redis
from redis.exceptions import ResponseError
from rq.version import VERSION
from rq.worker_registration import REDIS_WORKER_KEYS

from lig_core.serving.queue import names
from lig_core.serving.queue.names import Field

ALIVE_SECONDS = 30
"""How long a worker counts as alive without saying so."""
PREFIX = "rq:worker:"


class WorkerState(StrEnum):
    """RQ's words for what a worker does."""

    STARTED = "started"
    IDLE = "idle"
    BUSY = "busy"


class Registration:
    """One worker's entry. Every method raises RedisError."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._redis, self._queue = redis, queue
        self.name = uuid.uuid4().hex  # nobody else's: one that was killed does not stand in the way of the next
        self._ended = Counter[str]()
        self._address: str | None = None
        self._described: dict[Any, Any] = {
            "birth": _now(),
            "queues": queue,
            Field.PID: os.getpid(),
            Field.HOSTNAME: socket.gethostname(),
            "version": VERSION,
            "python_version": sys.version,
        }

    def count(self, status: str) -> None:
        """Tell of an attempt that ended, with the next sign of life."""
        self._ended[status] += 1

    def renew(self, state: WorkerState, holds: Mapping[str, Any]) -> None:
        """A sign of life. It says all there is to say, for what was there may be gone."""
        key = PREFIX + self.name
        news = {
            "ip_address": self._own_address(),
            "last_heartbeat": _now(),
            "successful_job_count": self._ended["succeeded"],
            "failed_job_count": self._ended["failed"],
            Field.STATE: state,
            Field.HOLDS: orjson.dumps(holds).decode(),
        }
        with self._redis.pipeline() as pipe:
            pipe.hset(key, mapping=self._described | news)
            pipe.expire(key, ALIVE_SECONDS)
            for registry in self._registries:
                pipe.sadd(registry, key)
            pipe.execute()

    def _own_address(self) -> str:
        """This worker's address as Redis saw it first; "unknown", RQ's word, where it may not be asked for that."""
        if self._address is None:
            try:
                self._address = str(self._redis.client_info()["addr"])
            except ResponseError:
                self._address = "unknown"
        return self._address

    def remove(self) -> None:
        """Take the entry out, at the worker's end."""
        key = PREFIX + self.name
        with self._redis.pipeline() as pipe:
            for registry in self._registries:
                pipe.srem(registry, key)
            pipe.delete(key)
            pipe.execute()

    def forget_dead(self) -> None:
        """Take out workers of the queue that gave no sign of life, and what names no worker."""
        registered: Any = list(self._redis.smembers(names.key("workers", self._queue)))
        with self._redis.pipeline(transaction=False) as pipe:
            for key in registered:
                pipe.type(key)
            kinds = pipe.execute()
        gone = [key for key, kind in zip(registered, kinds, strict=True) if kind != b"hash" or not _names_worker(key)]
        for registry in self._registries:
            if gone:
                self._redis.srem(registry, *gone)

    @property
    def _registries(self) -> tuple[str, str]:
        return REDIS_WORKER_KEYS, names.key("workers", self._queue)


def _names_worker(key: bytes) -> bool:
    return key.startswith(PREFIX.encode())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
