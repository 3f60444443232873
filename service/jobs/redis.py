"""Connections to Redis that answer soon, whatever happens to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry as RedisRetry

from lig_core.serving.queue import address
from lig_core.serving.queue.redis_faults import fault_of
from service.http.errors import StoreUnavailable
from service.settings import Settings

CONNECTIONS = 64
"""Of one process; more threads than the server's do not work at once."""


def connect(redis_url: str, settings: Settings, *, timeout: float | None = None) -> Redis:
    """Connections on which no command takes long, whatever Redis does; who finds none free waits a moment for one.

    timeout: seconds that a command may take, where that is not the setting's.
    """
    timeout = timeout or settings.redis_timeout
    return address.connect(
        redis_url,
        most=CONNECTIONS,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        # redis-py's own default of many retries would hold a request for up to a minute.
        retry=RedisRetry(NoBackoff(), 1),
    )


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Turn what goes wrong with Redis into StoreUnavailable."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"{fault_of(error).value}; try again in a moment") from error
