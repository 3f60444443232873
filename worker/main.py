"""The worker process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib.metadata import version

from redis.exceptions import RedisError

from lig_core.serving import logs
from lig_core.serving.queue.durability import UnfitRedis, read_durability
from lig_core.serving.settings import masked
from worker.connection import connect, connect_briefly
from worker.patience import complain, patiently
from worker.settings import Settings
from worker.take.lease_worker import LeaseWorker
from worker.take.model_process import ModelProcess, Unfit
from worker.take.stopping import Stopping

CHILD = (sys.executable, "-m", "worker.compute.child")

log = logging.getLogger(__name__)


def main(settings: Settings, *, burst: bool = False) -> None:
    """Work until SIGTERM or SIGINT. `burst` stops when the queue is empty."""
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL to the one that the API uses, or use `lig serve`, which starts all")
    logs.configure(settings.log_format, settings.log_level)
    try:
        work(settings, burst=burst)
    except (Unfit, UnfitRedis) as error:
        sys.exit(f"lig worker: {error}")
    log.info("stopped: %s", "the queue is empty" if burst else "as asked")


def work(
    settings: Settings,
    *,
    child: Sequence[str] = CHILD,
    burst: bool = False,
    make: type[LeaseWorker] = LeaseWorker,
) -> None:
    """Work with models in a process of the given command. Raises Unfit, UnfitRedis; waits for a Redis that is away,
    or refuses: what is wrong with it may be put right meanwhile, its password too."""
    stopping = Stopping(settings.drain_grace)
    redis, brief = connect(settings.redis_address), connect_briefly(settings.redis_address)

    def go_on() -> bool:
        return not stopping.asked

    with (
        stopping.listening(),
        closing(ModelProcess(child, settings.as_environment(), settings.load_timeout)) as process,
    ):
        log.info("worker of LIG service %s: %s", version("lig-service"), _described(settings))
        try:
            brief.ping()
        except RedisError as error:  # said at once: loading the models may take minutes
            complain(error)
        # Before anything is said to Redis: who cannot compute must not look like a worker.
        if not process.make_ready(go_on):
            return
        try:
            durability = patiently(lambda: read_durability(redis), go_on)
        except RedisError:
            return  # asked to stop
        durability.require_fit(allow_eviction=settings.allow_eviction)
        make(settings.queue, process, redis, brief, lease=settings.lease, stopping=stopping).work(burst=burst)


def _described(settings: Settings) -> str:
    shown = masked(settings)
    models = ", ".join(settings.preload) or "each when it is first asked for"
    device = settings.device or "the best there is"
    return f"device {device}, queue {settings.queue}, models {models}, Redis {shown['redis_url']}"
