"""The worker process."""

from __future__ import annotations

import logging
import sys

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from lig_core.catalog import find_model
from lig_core.errors import LigError
from worker.engine import CoreEngine, Engine
from worker.model_pool import ModelPool
from worker.queue_worker import LEASE_SECONDS, LeaseQueue, LeaseWorker
from worker.settings import Settings
from worker.tasks import RUN_EXPLAIN, Explainer


def main(settings: Settings | None = None, *, burst: bool = False) -> None:
    """Work until SIGTERM or SIGINT; a job under way is finished first. `burst` stops when the queue is empty."""
    settings = settings or Settings()
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL to the one that the API uses, or use `lig serve`, which starts all")
    logging.basicConfig(format="%(asctime)s %(name)s %(message)s", level=logging.WARNING)
    try:
        work(settings, settings.redis_url.get_secret_value(), CoreEngine(), burst=burst)
    except LigError as error:
        sys.exit(f"lig worker: {error.detail}")


def work(
    settings: Settings,
    redis_url: str,
    engine: Engine,
    *,
    burst: bool = False,
    lease_seconds: int = LEASE_SECONDS,
) -> None:
    """Work with the given engine; raises LigError where a model to preload cannot be loaded."""
    redis = connect(redis_url)
    pool = ModelPool(engine, settings.device, settings.models_in_memory)
    for name in settings.preload:
        pool.get(find_model(name, settings.models_folder), "float32")
    explainer = Explainer(engine, pool, settings.models_folder)
    queue = LeaseQueue(settings.queue, connection=redis, serializer="json")
    worker = LeaseWorker(queue, {RUN_EXPLAIN: explainer.run_explain}, lease_seconds)
    worker.work(burst=burst, logging_level="WARNING")


def connect(redis_url: str) -> Redis:
    """A connection that rides out two minutes without Redis: a finished explanation is worth waiting for."""
    return Redis.from_url(redis_url, retry=Retry(ExponentialBackoff(cap=2, base=0.05), 60), health_check_interval=15)
