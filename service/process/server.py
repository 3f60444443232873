"""The API process: `python -m service.process.server` under any supervisor."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import cast

import uvicorn
from typing_extensions import override

from lig_core.serving import logs
from lig_core.serving.processes import SAME_SIGNAL_SECONDS, STOP_SIGNALS
from lig_core.serving.queue.durability import UnfitRedis
from lig_core.serving.settings import BadSettings
from service.app import create_app
from service.http.errors import StoreUnavailable
from service.jobs.redis_store import RqJobStore
from service.keys.keyring import KeysError
from service.lifecycle import Lifecycle
from service.metrics.queue_numbers import QueueMetrics
from service.process.connections import Connections, places
from service.process.protocol import LimitedProtocol, Limits
from service.settings import Settings

log = logging.getLogger(__name__)

# What is still being sent after that is cut: who waits for a job was let go, but a large result may take longer.
GRACE_SECONDS = 3
COLLECTED_AFTER = (100_000, 50, 100)
"""Thresholds of Python's garbage collector. Requests leave next to no cycles, and with Python's own thresholds a
collection that passes over everything comes amid a few thousand of them."""
# What came in just before nothing more could, for as long it is read and answered as ever.
LAST_SECONDS = 1.0
THREADS_SECONDS = 2.0
"""How long, once all is said, threads may go on. One that looks up a name cannot be called off, and Python waits for
it: ten seconds and more where the server of names is gone, as when all containers are stopped together."""


class Server(uvicorn.Server):
    """Uvicorn's server, which says when it was told to stop, and goes on for `drain_delay` seconds more.

    Meanwhile every answer closes its connection: none is left that a load balancer would use again.
    """

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain_delay: float = 0.0) -> None:
        super().__init__(config)
        self._lifecycle = lifecycle
        self._drain_delay = drain_delay
        self._stop_told_at = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Hear of SIGTERM and SIGINT in the event loop, between two of its steps, while the block runs."""
        loop = asyncio.get_running_loop()
        for name in STOP_SIGNALS:
            loop.add_signal_handler(name, self.handle_exit, name, None)
        try:
            yield
        finally:
            for name in STOP_SIGNALS:
                loop.remove_signal_handler(name)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Finish what runs, take nothing new; told again, end at once."""
        now = time.monotonic()
        if not self._lifecycle.leaving:
            self._stop_told_at = now
            self._lifecycle.leave()
            if self._drain_delay:
                self.config.encoded_headers.append((b"connection", b"close"))
                asyncio.get_running_loop().call_later(self._drain_delay, self._end)
            else:
                self._lifecycle.drain()
                self._end()
        elif now - self._stop_told_at > SAME_SIGNAL_SECONDS:
            self.force_exit = True
            self._end()

    def _end(self) -> None:
        self.should_exit = True

    @override
    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await super().serve(sockets)
        end = threading.Timer(THREADS_SECONDS, os._exit, (0,))
        end.daemon = True
        end.start()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self._lifecycle.draining:
            for listening in (*self.servers, *(sockets or ())):
                listening.close()
            if not self.force_exit:
                await asyncio.sleep(LAST_SECONDS)
            self._lifecycle.drain()
        await super().shutdown(sockets)


def run(settings: Settings, listener: socket.socket | None = None) -> None:
    """Serve until SIGTERM or SIGINT, on `listener` where one is given."""
    if settings.redis_url is None:
        sys.exit("no Redis: set LIG_REDIS_URL, or use `lig serve`, which starts one")
    if settings.bind_refusal:
        sys.exit(settings.bind_refusal)
    logs.configure(settings.log_format, settings.log_level)
    redis_url = settings.redis_address
    jobs = RqJobStore(redis_url, settings)
    try:
        jobs.durability()
    except UnfitRedis as error:
        sys.exit(str(error))
    except StoreUnavailable as error:  # until that is over, requests are answered 503, and /readyz checks again
        log.warning("%s (%s)", error.detail, error.__cause__)
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
    limit = places(settings.max_connections)
    peers = Connections(limit, min(settings.max_client_connections, (limit + 1) // 2), settings.trusted_proxies)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=cast("type[LimitedProtocol]", partial(LimitedProtocol, limits=Limits.of(settings), peers=peers)),
        ws="none",
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_config=None,  # its loggers' lines go the way of all others
        access_log=False,  # there is one of our own
        server_header=False,
        proxy_headers=False,  # who sent a request is asked of the connection: service.http.prefix
    )
    config.load()
    gc.collect()
    gc.freeze()  # what is there now stays, so no collection need look at it
    gc.set_threshold(*COLLECTED_AFTER)
    Server(config, lifecycle, settings.drain_delay).run(sockets=[listener] if listener else None)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description="The HTTP API of the LIG service.")
    arguments.add_argument("--listener-fd", type=int, help="an inherited listening socket")
    fd = arguments.parse_args().listener_fd
    try:
        settings = Settings.read()
    except BadSettings as error:
        arguments.exit(2, f"{error}\n")
    run(settings, socket.socket(fileno=fd) if fd is not None else None)
