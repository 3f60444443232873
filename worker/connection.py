"""Connections to Redis, for three kinds of commands. None tries for long: who needs the answer is patient itself."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from lig_core.serving.queue import address


def connect(url: str) -> Redis:
    """One for moves: what Redis does in a moment."""
    return _connect(url, 5.0)


def connect_briefly(url: str) -> Redis:
    """One for what is asked again in a moment anyway while a job runs."""
    return _connect(url, 1.0)


def connect_for_parts(url: str) -> Redis:
    """One for parts of results, which may be large."""
    return _connect(url, 20.0)


def _connect(url: str, seconds: float) -> Redis:
    # Tried once more at once: a connection that broke while nobody looked is no fault of Redis.
    again = Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,))
    return address.connect(url, socket_timeout=seconds, retry=again, health_check_interval=15)
