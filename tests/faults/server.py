"""The machine's redis-server, and what may become of one: away, frozen, full, read-only, shut, emptied.

Each state is a context: the server is in it until the block ends, whatever else happened to the server meanwhile.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import Any, Literal

import psutil
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.process.embedded import find_server

Fsync = Literal["always", "everysec"]

USER = PASSWORD = "harness"
"""Whom no state shuts out, so that every state can be ended."""
START_SECONDS = INSIST_SECONDS = 60.0
PORTS = range(15000, 32000)
"""Below those that the kernel gives to connections: none of them takes the place of a server that is away."""


class RedisServer:
    """One server on a port of its own, with its data in a folder of its own."""

    def __init__(self, folder: Path, fsync: Fsync = "always") -> None:
        self._folder, self._fsync = folder / "redis", fsync
        self._port = free_port()
        self._changing = threading.RLock()
        self._process: subprocess.Popen | None = None
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        """Returns when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "redis.conf"
        configuration.write_text(
            f"port {self._port}\nbind 127.0.0.1\ndir {self._folder}\nlogfile {self._folder / 'redis.log'}\n"
            f'save ""\nappendonly yes\nappendfsync {self._fsync}\nmaxmemory-policy noeviction\n'
            "auto-aof-rewrite-percentage 0\n"  # `truth` reads every write that there was
            f"user {USER} on >{PASSWORD} ~* &* +@all\n"
        )
        # Python ignores SIGXFSZ, and so does Redis then: where `disk_full`, a write fails, and nothing is killed.
        self._process = subprocess.Popen([find_server(), configuration], restore_signals=False)
        self.insist("PING")

    def kill(self) -> None:
        """SIGKILL; what was answered must be on its disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def connect(self) -> Redis:
        """A connection that gives up soon."""
        return Redis.from_url(self.url, username=USER, password=PASSWORD, socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def insist(self, *command: Any) -> Any:
        """Have it carry out a command, as soon as it can."""
        deadline = time.monotonic() + INSIST_SECONDS
        while True:
            try:
                with self.connect() as redis:
                    return redis.execute_command(*command)
            except RedisError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.05)

    def append_only_file(self) -> Iterator[Path]:
        """Its files, in order."""
        return iter(sorted(self._folder.rglob("*.aof")))

    def restart(self, pause: float) -> None:
        """Away for `pause` seconds."""
        with self.away():
            time.sleep(pause)

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        with self._changing:
            self.kill()
            try:
                yield
            finally:
                self.start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)  # nothing, where it was killed meanwhile

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Its memory is; as every policy but noeviction loses jobs, writes are refused."""
        with self._configured("maxmemory", "1", "0"):
            yield

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """A replica, as after a failover."""
        self.insist("REPLICAOF", "127.0.0.1", "1")
        try:
            yield
        finally:
            self.insist("REPLICAOF", "NO", "ONE")

    @contextlib.contextmanager
    def short_of_replicas(self) -> Iterator[None]:
        with self._configured("min-replicas-to-write", "1", "0"):
            yield

    @contextlib.contextmanager
    def password_changed(self) -> Iterator[None]:
        """And who was let in before must come in again."""
        with self._configured("requirepass", "another", ""):
            self.cut_connections()
            yield

    @contextlib.contextmanager
    def forbidden(self) -> Iterator[None]:
        """By its access list."""
        self.insist("ACL", "SETUSER", "default", "-@all")
        try:
            yield
        finally:
            self.insist("ACL", "SETUSER", "default", "+@all")

    @contextlib.contextmanager
    def disk_full(self) -> Iterator[None]:
        """No file of it can grow: with `everysec` it refuses writes, with `always` it ends itself."""
        self._limit_files(0)
        try:
            yield
        finally:
            with self._changing:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._limit_files(psutil.RLIM_INFINITY)
                self._start_if_it_ended()

    @contextlib.contextmanager
    def snapshot_failed(self) -> Iterator[None]:
        """It refuses writes because it could not save (stop-writes-on-bgsave-error)."""
        assert self._process is not None
        self.insist("SET", "harness:saved", "1")
        self.insist("CONFIG", "SET", "save", "3600 1")
        self.insist("CONFIG", "SET", "rdb-key-save-delay", "10000000")  # μs: it is still saving when it is killed
        self.insist("BGSAVE")
        for saving in psutil.Process(self._process.pid).children():
            saving.kill()
        self._wait_until_saving_ended("err")
        try:
            yield
        finally:
            self.insist("CONFIG", "SET", "rdb-key-save-delay", "0")
            self.insist("BGSAVE")
            self._wait_until_saving_ended("ok")
            self.insist("DEL", "harness:saved")
            self.insist("CONFIG", "SET", "save", "")

    def empty(self) -> None:
        """Everything in it is gone."""
        self.insist("FLUSHALL")

    def replace(self) -> None:
        """An empty one is in its place."""
        with self._changing:
            self.kill()
            shutil.rmtree(self._folder)
            self.start()

    def cut_connections(self) -> None:
        """All but the harness's own."""
        for kind in ("normal", "pubsub"):
            self.insist("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    @contextlib.contextmanager
    def _configured(self, name: str, value: str, usual: str) -> Iterator[None]:
        self.insist("CONFIG", "SET", name, value)
        try:
            yield
        finally:
            self.insist("CONFIG", "SET", name, usual)

    def _wait_until_saving_ended(self, how: str) -> None:
        deadline = time.monotonic() + INSIST_SECONDS
        while self.insist("INFO", "persistence")["rdb_last_bgsave_status"] != how:
            assert time.monotonic() < deadline, "Redis goes on saving"
            time.sleep(0.05)

    def _start_if_it_ended(self) -> None:
        """One that ends itself has closed its connections before it is gone: neither is asked alone."""
        assert self._process is not None
        deadline = time.monotonic() + INSIST_SECONDS
        while self._process.poll() is None:
            with contextlib.suppress(RedisError), self.connect() as redis:
                redis.ping()
                return
            assert time.monotonic() < deadline, "Redis neither answers nor ends"
            time.sleep(0.05)
        self.start()

    def _limit_files(self, size: int) -> None:
        assert self._process is not None
        psutil.Process(self._process.pid).rlimit(psutil.RLIMIT_FSIZE, (size, psutil.RLIM_INFINITY))


def free_port() -> int:
    """One that nobody listens on."""
    while True:
        port = SystemRandom().choice(PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
