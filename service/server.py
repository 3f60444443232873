"""The API process: `python -m service.server` under any supervisor."""

from __future__ import annotations

import argparse
import socket
import sys
from types import FrameType

import uvicorn

from lig_core import logs
from lig_core.queue.durability import UnfitRedis
from lig_core.settings_text import faults
from service.app import create_app
from service.errors import StoreUnavailable
from service.keys import KeysError
from service.lifecycle import Lifecycle
from service.queue_metrics import QueueMetrics
from service.rq_jobs import RqJobStore
from service.settings import Settings

# What is still being sent after that is cut: who waits for a job was let go, but a large result may take longer.
GRACE_SECONDS = 3


class Server(uvicorn.Server):
    """Uvicorn's server, which says when it was told to stop."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT: finish what runs, take nothing new."""
        self._lifecycle.draining = True
        super().handle_exit(sig, frame)


def run(settings: Settings, listener: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on `listener` where one is given."""
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL, or use `lig serve`, which starts one")
    if settings.bind_refusal:
        sys.exit(settings.bind_refusal)
    logs.configure(settings.log_format, settings.log_level)
    redis_url = settings.redis_url.get_secret_value()
    jobs = RqJobStore(redis_url, settings)
    try:
        jobs.durability()
    except UnfitRedis as error:
        sys.exit(str(error))
    except StoreUnavailable:
        pass  # it may come up later; until then requests are answered 503, and /readyz checks again
    lifecycle = Lifecycle()
    try:
        app = create_app(
            settings,
            jobs,
            lifecycle=lifecycle,
            collectors=[QueueMetrics(redis_url, settings)],
            answers_to=settings.hosts,
        )
    except KeysError as error:
        sys.exit(str(error))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_config=None,  # its loggers' lines go the way of all others
        access_log=False,  # there is one of our own
        server_header=False,
        proxy_headers=False,  # who sent a request is asked of the connection: service.prefix
    )
    Server(config, lifecycle).run(sockets=[listener] if listener else None)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="The HTTP API of the LIG service.")
    arguments.add_argument("--listener-fd", type=int, help="an inherited listening socket")
    fd = arguments.parse_args().listener_fd
    try:
        settings = Settings()
    except ValueError as error:
        arguments.exit(2, f"settings: {faults(error)}\n")
    run(settings, socket.socket(fileno=fd) if fd is not None else None)
