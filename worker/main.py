"""The worker process."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rq import Queue

from lig_core import logs
from lig_core.queue.durability import UnfitRedis, read_durability
from worker.connection import connect, connect_briefly
from worker.process import ModelProcess, Unfit
from worker.queue_worker import LeaseWorker
from worker.settings import Settings

CHILD = (sys.executable, "-m", "worker.child")


def main(settings: Settings, *, burst: bool = False) -> None:
    """Work until SIGTERM or SIGINT. `burst` stops when the queue is empty."""
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL to the one that the API uses, or use `lig serve`, which starts all")
    logs.configure(settings.log_format, settings.log_level)
    try:
        worked = work(settings, burst=burst)
    except (Unfit, UnfitRedis) as error:
        sys.exit(f"lig worker: {error}")
    if not worked:
        sys.exit("lig worker: stopped by a fault; see above")


def work(
    settings: Settings,
    *,
    child: Sequence[str] = CHILD,
    burst: bool = False,
    make: type[LeaseWorker] = LeaseWorker,
) -> bool:
    """Work with models in a process of the given command; whether it stopped as asked. Raises Unfit, UnfitRedis."""
    url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    process = ModelProcess(child, settings.as_environment(), settings.load_timeout)
    try:
        # Before anything is said to Redis: who cannot compute must not look like a worker.
        process.make_ready(lambda: True)
        redis = connect(url)
        read_durability(redis).require_fit(allow_eviction=settings.allow_eviction)
        worker = make(
            Queue(settings.queue, connection=redis, serializer="json"),
            process,
            redis,
            connect_briefly(url),
            lease=settings.lease,
            drain_grace=settings.drain_grace,
        )
        worker.listen_to_signals()
        worker.work(burst=burst, logging_level="WARNING")
        return burst or worker.draining
    finally:
        process.close()
