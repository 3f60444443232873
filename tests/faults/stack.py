"""Redis, API and workers as processes that are started again when they die, as a supervisor would."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import psutil
from redis import Redis

from service.embedded import embedded_redis
from tests.faults.points import Points

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


REAL_WORKER = ("-m", "worker")


class Stack:
    """`workers` of them over one API and one Redis; leases of `lease` seconds.

    The workers are scripted, their jobs only wait or spin, unless `worker` is the command of another.
    """

    def __init__(
        self, folder: Path, *, workers: int, lease: float = 2.0, worker: Sequence[str] | None = None, **variables: str
    ) -> None:
        self.folder, self.lease = folder, lease
        self._worker = worker or (str(HERE / "scripted_worker.py"), str(folder))
        self.points = Points(folder)
        self._data = folder / "redis"
        self._redis = contextlib.ExitStack()
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._variables = variables
        self._workers: list[subprocess.Popen | None] = [None] * workers
        self._api: subprocess.Popen | None = None

    def __enter__(self) -> Stack:
        self._start_redis()
        self.keep_up()
        return self

    def __exit__(self, *exc: object) -> None:
        for process in [*self.workers, self._api]:
            if process is not None:
                process.kill()
                process.wait()
        self._redis.close()

    @property
    def workers(self) -> list[subprocess.Popen]:
        return [worker for worker in self._workers if worker is not None]

    @property
    def api_pid(self) -> int:
        assert self._api is not None
        return self._api.pid

    def connect(self) -> Redis:
        return Redis.from_url(self.redis_url, socket_timeout=2)

    def keep_up(self) -> None:
        """Start what is not running."""
        for index, worker in enumerate(self._workers):
            if worker is None or worker.poll() is not None:
                self._workers[index] = self._spawn(*self._worker)
        if self._api is None or self._api.poll() is not None:
            self._api = self._spawn("-m", "service.server")

    def wait_until_ready(self, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(httpx.TransportError):
                shown = httpx.get(f"{self.url}/readyz", timeout=5)
                if shown.is_success and shown.json()["workers"] >= len(self._workers):
                    return
            assert time.monotonic() < deadline, "the stack does not become ready"
            self.keep_up()
            time.sleep(0.1)

    def child_of(self, worker: subprocess.Popen) -> psutil.Process | None:
        with contextlib.suppress(psutil.Error):
            return next(iter(psutil.Process(worker.pid).children()), None)
        return None

    def kill_api(self) -> None:
        assert self._api is not None
        self._api.kill()
        self._api.wait()

    def restart_redis(self, pause: float) -> None:
        self._server.process.send_signal(signal.SIGKILL)
        self._server.process.wait()
        self._redis.close()
        time.sleep(pause)
        self._start_redis()

    def append_only_file(self) -> bytes:
        return b"".join(path.read_bytes() for path in sorted(self._data.rglob("*.aof")))

    def _start_redis(self) -> None:
        self._server = self._redis.enter_context(embedded_redis(self._data))
        self.redis_url = self._server.url

    def _spawn(self, *command: str) -> subprocess.Popen:
        told = {
            "PYTHONPATH": str(ROOT),
            "LIG_REDIS_URL": self.redis_url,
            "LIG_PORT": str(self._port),
            "LIG_LEASE": str(self.lease),
            # A run of the harness may hit one job many times; how crashes are bounded is tested elsewhere.
            "LIG_CRASH_RETRIES": "50",
            **self._variables,
        }
        log = (self.folder / "log").open("ab")
        with log:
            return subprocess.Popen([sys.executable, *command], env={**os.environ, **told}, stdout=log, stderr=log)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
