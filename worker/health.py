"""The life of a worker on this machine as an exit code: `python -m worker.health`, for a container's check."""

from __future__ import annotations

import socket
import sys

from redis import Redis
from redis.exceptions import RedisError

from lig_core.serving.queue import address
from lig_core.serving.queue.redis_faults import fault_of
from lig_core.serving.queue.workers import live_workers
from lig_core.serving.settings import BadSettings
from worker.settings import Settings


def alive(redis: Redis, queue: str) -> bool:
    """True where a worker of this host gave a sign of life lately."""
    return any(worker.host == socket.gethostname() for worker in live_workers(redis, queue))


if __name__ == "__main__":
    try:
        settings = Settings.read()
    except BadSettings as error:
        sys.exit(str(error))
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL")
    with address.connect(settings.redis_address, socket_timeout=5) as redis:
        try:
            sys.exit(0 if alive(redis, settings.queue) else "no worker of this machine is alive")
        except RedisError as error:
            sys.exit(f"{fault_of(error).value} ({error})")
