"""`lig serve`: one Redis, one API and one worker, started together and stopped together."""

from __future__ import annotations

import contextlib
import errno
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

import httpx
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from lig_core.queue import address
from lig_core.queue.durability import UnfitRedis, read_durability
from lig_core.settings_text import masked
from service import child
from service.embedded import EmbeddedRedisError, embedded_redis
from service.settings import Settings

LOOK_EVERY_SECONDS = 0.1
WORKER = (sys.executable, "-m", "worker")


class ServeError(Exception):
    """`lig serve` cannot go on; the text says why and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def serve(settings: Settings, worker: Sequence[str] = WORKER) -> None:
    """Run everything until SIGTERM or SIGINT; raises ServeError. Leaves no process and no socket behind."""
    if settings.bind_refusal:
        raise ServeError(settings.bind_refusal, exit_code=2)
    with _stop_signals() as stop, _listener(settings) as listener, _redis(settings) as (redis_url, redis):
        # Known only now, and the children learn everything from the environment.
        told = settings.model_copy(update={"redis_url": SecretStr(redis_url), "port": listener.getsockname()[1]})
        with _children(told, listener, worker) as started:
            processes = {**redis, **started}
            _wait_until_ready(told, processes, stop)
            if not stop.is_set():
                print(
                    f"LIG service ready at {_url(told)} (docs at {_url(told)}/docs); Ctrl-C stops it",
                    flush=True,
                )
            while not stop.wait(LOOK_EVERY_SECONDS):
                _check_alive(processes)


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    stop = threading.Event()

    def request(signum: int, frame: FrameType | None) -> None:
        stop.set()

    before = {name: signal.signal(name, request) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


@contextlib.contextmanager
def _listener(settings: Settings) -> Iterator[socket.socket]:
    # Bound before anything is started, and handed to the API: a taken port is known at once.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen()
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            advice = "choose another with --port" if taken else "check --host and --port"
            raise ServeError(
                f"cannot listen on {settings.host} port {settings.port}: {error.strerror}; {advice}",
                exit_code=2,
            ) from None
        yield listener


@contextlib.contextmanager
def _redis(settings: Settings) -> Iterator[tuple[str, Mapping[str, subprocess.Popen[bytes]]]]:
    if settings.redis_url is not None:
        _require_answer(settings)
        yield settings.redis_url.get_secret_value(), {}
        return
    with contextlib.ExitStack() as stack:
        try:
            redis = stack.enter_context(embedded_redis(settings.data_dir, settings.redis_server, settings.redis_fsync))
        except EmbeddedRedisError as error:
            raise ServeError(str(error)) from None
        yield redis.url, {"Redis": redis.process}


def _require_answer(settings: Settings) -> None:
    url = settings.redis_url.get_secret_value() if settings.redis_url else ""
    try:
        with address.connect(url, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)) as redis:
            read_durability(redis).require_fit(allow_eviction=settings.allow_eviction)
    except UnfitRedis as error:
        raise ServeError(str(error)) from None
    except RedisError as error:
        shown = masked(settings)["redis_url"]
        raise ServeError(f"Redis at {shown} does not answer ({error}); start it, or leave LIG_REDIS_URL out") from None


@contextlib.contextmanager
def _children(
    settings: Settings, listener: socket.socket, worker: Sequence[str]
) -> Iterator[Mapping[str, subprocess.Popen[bytes]]]:
    environment = settings.as_environment()
    started: dict[str, subprocess.Popen[bytes]] = {}
    try:
        started["API"] = child.start(
            [sys.executable, "-m", "service.server", "--listener-fd", str(listener.fileno())],
            environment=environment,
            keep_open=[listener.fileno()],
        )
        started["worker"] = child.start(worker, environment=environment)
        yield started
    finally:
        for process in started.values():
            process.terminate()
        deadline = time.monotonic() + settings.stop_grace
        for process in started.values():
            child.stop(process, max(0.0, deadline - time.monotonic()))


def _wait_until_ready(
    settings: Settings, processes: Mapping[str, subprocess.Popen[bytes]], stop: threading.Event
) -> None:
    deadline = time.monotonic() + settings.start_timeout
    answer = "nothing"
    with httpx.Client(base_url=_url(settings), timeout=5, trust_env=False) as client:
        while not stop.wait(LOOK_EVERY_SECONDS):
            _check_alive(processes)
            with contextlib.suppress(httpx.TransportError):
                response = client.get("/readyz")
                if response.is_success:
                    return
                answer = response.json()["detail"]
            if time.monotonic() > deadline:
                raise ServeError(f"not ready after {settings.start_timeout:.0f} s; /readyz says: {answer}")


def _check_alive(processes: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for name, process in processes.items():
        if process.poll() is not None:
            raise ServeError(f"the {name} process ended (exit code {process.returncode}); stopping everything")


def _url(settings: Settings) -> str:
    # One that listens everywhere is reached through loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
