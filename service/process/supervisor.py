"""`lig serve`: one Redis, one API and one worker, started together and stopped together."""

from __future__ import annotations

import contextlib
import errno
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import httpx
from pydantic import SecretStr
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from lig_core.serving.queue import address
from lig_core.serving.queue.durability import UnfitRedis, read_durability
from lig_core.serving.settings import masked
from service.process import child
from service.process.embedded import EmbeddedRedisError, embedded_redis
from service.process.stopping import Stopped, StopSignals, stop_signals
from service.settings import Settings

LOOK_EVERY_SECONDS = 0.1
END_LOOK_SECONDS = 0.02
WORKER = (sys.executable, "-m", "worker")


class ServeError(Exception):
    """`lig serve` cannot go on; the text says why and what to do."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Command:
    """A command to run, and the descriptors that it inherits."""

    words: Sequence[str]
    keep_open: Sequence[int] = ()


def serve(settings: Settings, worker: Sequence[str] = WORKER) -> None:
    """Run everything until SIGTERM or SIGINT; raises ServeError. Leaves no process and no socket behind.

    A second signal ends the grace that the API and the worker have.
    """
    if settings.bind_refusal:
        raise ServeError(settings.bind_refusal, exit_code=2)
    with (
        stop_signals() as stop,
        contextlib.suppress(Stopped),
        _listener(settings) as listener,
        _redis(settings, stop) as (redis_url, redis),
    ):
        # Known only now, and the children learn everything from the environment.
        actual = settings.model_copy(update={"redis_url": SecretStr(redis_url), "port": listener.getsockname()[1]})
        fd = listener.fileno()
        commands = {
            "API": Command([sys.executable, "-m", "service.process.server", "--listener-fd", str(fd)], keep_open=[fd]),
            "worker": Command(worker),
        }

        def wait_until_ready(check: Callable[[], None]) -> None:
            _wait_until_ready(actual, check, stop)
            address = f"{_url(actual)}{actual.root_path}"
            print(f"LIG service ready at {address} (docs at {address}/docs); Ctrl-C stops it", flush=True)

        supervise(commands, actual.as_environment(), stop, actual.stop_grace, beside=redis, begin=wait_until_ready)


def supervise(
    commands: Mapping[str, Command],
    environment: Mapping[str, str],
    stop: StopSignals,
    grace: float,
    *,
    beside: Mapping[str, subprocess.Popen[bytes]] | None = None,
    begin: Callable[[Callable[[], None]], None] = lambda check: None,
) -> None:
    """Start the commands, and end them together: raises Stopped on a signal, ServeError when one of them ends.

    environment: that of the children; grace: seconds that they may take to end before they are killed, up to a
    further signal; beside: other processes that must not end; begin: called first, with what to call now and then
    while it waits.
    """
    started: dict[str, subprocess.Popen[bytes]] = {}

    def check() -> None:
        for name, process in {**(beside or {}), **started}.items():
            if process.poll() is not None:
                raise ServeError(f"the {name} process ended (exit code {process.returncode}); stopping everything")

    try:
        for name, command in commands.items():
            started[name] = child.start(command.words, environment=environment, keep_open=command.keep_open)
        begin(check)
        while True:
            check()
            stop.sleep(LOOK_EVERY_SECONDS)
    finally:
        _end(list(started.values()), grace, stop)


def _end(processes: Sequence[subprocess.Popen[bytes]], grace: float, stop: StopSignals) -> None:
    for process in processes:
        process.terminate()
    deadline, signals = time.monotonic() + grace, min(stop.count, 1)
    while any(process.poll() is None for process in processes):
        if time.monotonic() > deadline or stop.wait(END_LOOK_SECONDS, beyond=signals):
            break
    for process in processes:
        process.kill()
        process.wait()


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
def _redis(settings: Settings, stop: StopSignals) -> Iterator[tuple[str, Mapping[str, subprocess.Popen[bytes]]]]:
    if settings.redis_url is not None:
        _require_answer(settings)
        yield settings.redis_address, {}
        return
    with contextlib.ExitStack() as stack:
        try:
            redis = stack.enter_context(
                embedded_redis(settings.data_dir, settings.redis_server, settings.redis_fsync, sleep=stop.sleep)
            )
        except EmbeddedRedisError as error:
            raise ServeError(str(error)) from None
        yield redis.url, {"Redis": redis.process}


def _require_answer(settings: Settings) -> None:
    again = Retry(NoBackoff(), 0)
    try:
        with address.connect(settings.redis_address, socket_timeout=5, socket_connect_timeout=5, retry=again) as redis:
            read_durability(redis).require_fit(allow_eviction=settings.allow_eviction)
    except UnfitRedis as error:
        raise ServeError(str(error)) from None
    except RedisError as error:
        shown = masked(settings)["redis_url"]
        raise ServeError(f"Redis at {shown} does not answer ({error}); start it, or leave LIG_REDIS_URL out") from None


def _wait_until_ready(settings: Settings, check: Callable[[], None], stop: StopSignals) -> None:
    deadline = time.monotonic() + settings.start_timeout
    answer = "nothing"
    with httpx.Client(base_url=_url(settings), timeout=5, trust_env=False) as client:
        while True:
            stop.sleep(LOOK_EVERY_SECONDS)
            check()
            with contextlib.suppress(httpx.TransportError):
                response = client.get("/startupz")  # which logs nothing of what is not ready yet
                if response.is_success:
                    return
                answer = response.json()["detail"]
            if time.monotonic() > deadline:
                raise ServeError(f"not ready after {settings.start_timeout:.0f} s; /startupz says: {answer}")


def _url(settings: Settings) -> str:
    # One that listens everywhere is reached through loopback.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
