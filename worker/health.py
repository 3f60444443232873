"""Whether a worker on this machine is alive, as an exit code: `python -m worker.health`, for a container's check."""

from __future__ import annotations

import socket
import sys
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from lig_core.serving.queue import address
from lig_core.serving.queue.names import key
from lig_core.serving.queue.redis_faults import fault_of
from lig_core.serving.settings_text import faults
from worker.settings import Settings


def alive(redis: Redis, queue: str) -> bool:
    """Whether a worker of this host gave a sign of life lately: its key expires unless it renews it."""
    names: Any = redis.smembers(key("workers", queue))
    host = socket.gethostname().encode()
    return any(redis.hget(name, "hostname") == host for name in names)


if __name__ == "__main__":
    try:
        settings = Settings()
    except ValueError as error:
        sys.exit(f"settings: {faults(error)}")
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL")
    with address.connect(settings.redis_url.get_secret_value(), socket_timeout=5) as redis:
        try:
            sys.exit(0 if alive(redis, settings.queue) else "no worker of this machine is alive")
        except RedisError as error:
            sys.exit(f"{fault_of(error).value} ({error})")
