"""Redis, APIs and workers as processes that are started again when they die, as a supervisor would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.faults.points import Points
from tests.faults.server import Fsync, RedisServer, free_port
from worker.settings import Settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

REAL_WORKER = ("-m", "worker")
DEFAULT_LEASE: float = Settings.model_fields["lease"].default
LOOK_SECONDS = 0.1
"""How often a supervisor looks."""


@dataclass
class Member:
    """One process of the stack, by its role; `process` is None until it is first started."""

    name: str
    command: tuple[str, ...]
    variables: dict[str, str]
    process: subprocess.Popen | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def child(self) -> psutil.Process | None:
        """Of a worker: its process with the models, where it has one."""
        with contextlib.suppress(psutil.Error):
            return next(iter(psutil.Process(self.pid).children()), None)
        return None


@dataclass(frozen=True)
class Exit:
    """A process that ended though nobody killed it."""

    name: str
    code: int

    def __str__(self) -> str:
        return f"{self.name}: {self.code}"


class Stack:
    """`workers` and `apis` of them over one Redis.

    The workers are scripted, their jobs only wait or spin, unless `worker` is the command of another.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int,
        apis: int = 1,
        lease: float = DEFAULT_LEASE,
        fsync: Fsync = "always",
        worker: Sequence[str] | None = None,
        **variables: str,
    ) -> None:
        self.folder, self.lease = folder, lease
        self.points = Points(folder)
        self.redis = RedisServer(folder, fsync)
        self.exits: list[Exit] = []
        self._changing = threading.Lock()
        told = {
            "PYTHONPATH": str(ROOT),
            "LIG_REDIS_URL": self.redis.url,
            "LIG_LEASE": f"{lease:g}",
            **variables,
        }
        ports = [free_port() for _ in range(apis)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.apis = [
            Member(f"API {number}", ("-m", "service.process.server"), {**told, "LIG_PORT": str(port)})
            for number, port in enumerate(ports, 1)
        ]
        script = tuple(worker or (str(HERE / "scripted_worker.py"), str(folder)))
        self.workers = [Member(f"worker {number}", script, told) for number in range(1, workers + 1)]

    def __enter__(self) -> Stack:
        self.redis.start()
        self.keep_up()
        return self

    def __exit__(self, *exc: object) -> None:
        for member in self.members:
            member.kill()
        self.redis.kill()

    @property
    def members(self) -> list[Member]:
        return [*self.workers, *self.apis]

    @property
    def url(self) -> str:
        """Of the first API."""
        return self.urls[0]

    def keep_up(self) -> None:
        """Start what is not running; what ended by itself is noted in `exits`."""
        with self._changing:
            for member in self.members:
                if member.running:
                    continue
                if member.process is not None and member.process.returncode != -signal.SIGKILL:
                    self.exits.append(Exit(member.name, member.process.returncode))
                member.process = self._spawn(member)

    @contextlib.contextmanager
    def kept_up(self) -> Iterator[None]:
        """Something looks after it until the block ends."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                self.keep_up()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def wait_until_ready(self, seconds: float = 300) -> None:
        """Until every API counts every worker."""
        deadline = time.monotonic() + seconds
        while not all(self.is_ready(url) for url in self.urls):
            assert time.monotonic() < deadline, "the stack does not become ready"
            self.keep_up()
            time.sleep(0.1)

    def is_ready(self, url: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            shown = httpx.get(f"{url}/readyz", timeout=5)
            return shown.is_success and shown.json()["workers"] >= len(self.workers)
        return False

    def _spawn(self, member: Member) -> subprocess.Popen:
        environment = {**os.environ, **member.variables}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen([sys.executable, *member.command], env=environment, stdout=log, stderr=log)
