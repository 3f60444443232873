"""A process's connections to Redis: for commands, which answer soon whatever happens to it, and one that hears of every
change of a job and tells the requests that wait for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry as RedisRetry

from lig_core.serving.queue import address
from lig_core.serving.queue.names import key
from lig_core.serving.queue.redis_faults import fault_of
from service.http.errors import StoreUnavailable
from service.settings import Settings

CONNECTIONS = 64
"""Of one process; more threads than the server's do not work at once."""
RECONNECT_SECONDS = 1.0
CANCEL_AGAIN_SECONDS = 0.1
LOOK_ANYWAY_SECONDS = 60.0
"""Every change is told, and whoever waits looks again when the connection that hears of them was a new one; this is
for what nobody thought of."""
SILENCE_SECONDS = 5.0
"""After so long without a message the connection is asked whether it is still there; so long may the answer take."""
ON_THE_WAY = frozenset({b"queued", b"started", b"progress", b"head", b"layer"})
"""Kinds of events (`service.jobs.job.Event`) that no job ends with. What else is told may be the end of one."""

log = logging.getLogger(__name__)


def connect(redis_url: str, settings: Settings, *, timeout: float | None = None) -> Redis:
    """Connections on which no command takes long, whatever Redis does; who finds none free waits a moment for one.

    timeout: seconds that a command may take, where that is not the setting's.
    """
    timeout = timeout or settings.redis_timeout
    return address.connect(
        redis_url,
        most=CONNECTIONS,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        # redis-py's own default of many retries would hold a request for up to a minute.
        retry=RedisRetry(NoBackoff(), 1),
    )


@contextlib.contextmanager
def reachable() -> Iterator[None]:
    """Turn what goes wrong with Redis into StoreUnavailable."""
    try:
        yield
    except RedisError as error:
        raise StoreUnavailable(f"{fault_of(error).value}; try again in a moment") from error


class JobWatch:
    """Notices changes of one computation; `end`: but for those after which it goes on."""

    def __init__(self, *, end: bool = False) -> None:
        self.end = end
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wake whoever waits, or the next one to wait."""
        self._event.set()

    async def changed(self, seconds: float) -> None:
        """Return when the job may have changed since the last call, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), min(seconds, LOOK_ANYWAY_SECONDS))
        self._event.clear()


class JobChanges:
    """Hands the messages of each of a queue's computations to those who watch it."""

    def __init__(self, redis_url: str, queue: str) -> None:
        self._redis_url, self._queue = redis_url, queue
        self._watches: defaultdict[str, set[JobWatch]] = defaultdict(set)

    @contextlib.contextmanager
    def watch(self, computation: str, *, end: bool = False) -> Iterator[JobWatch]:
        """A watch on one computation, or on its end alone, from now until the block ends."""
        channel, watch = key("channel", self._queue, computation), JobWatch(end=end)
        self._watches[channel].add(watch)
        try:
            yield watch
        finally:
            self._watches[channel].discard(watch)
            if not self._watches[channel]:
                del self._watches[channel]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen to Redis while the block runs."""
        listener = asyncio.create_task(self._listen(), name="job changes")
        try:
            yield
        finally:
            while not listener.done():  # a cancellation that comes while redis-py connects is lost
                listener.cancel()
                await asyncio.wait([listener], timeout=CANCEL_AGAIN_SECONDS)
            with contextlib.suppress(asyncio.CancelledError):
                listener.result()

    async def _listen(self) -> None:
        async with address.connected(self._redis_url) as redis:
            while True:
                try:
                    await self._pass_on(redis)
                except RedisError as error:
                    log.warning("job changes: %s; trying again (%s)", fault_of(error).value, error)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _pass_on(self, redis: AsyncRedis) -> None:
        async with redis.pubsub() as subscription:
            await subscription.psubscribe(key("channel", self._queue, "*"))
            asked = False
            while True:
                message = await subscription.get_message(timeout=SILENCE_SECONDS)
                if message is None and asked:
                    raise RedisTimeoutError("no sign of life from the connection that hears of changes")
                if message is None:
                    await subscription.ping()
                elif message["type"] == "psubscribe":
                    self._notify(self._watches)  # anything may have changed while nobody listened
                elif message["type"] == "pmessage":
                    channel = message["channel"].decode(errors="replace")  # anybody may tell anything
                    self._notify([channel], on_the_way=message["data"] in ON_THE_WAY)
                asked = message is None

    def _notify(self, channels: Iterable[str], *, on_the_way: bool = False) -> None:
        for channel in channels:
            for watch in self._watches.get(channel, ()):
                if not (on_the_way and watch.end):
                    watch.notify()
