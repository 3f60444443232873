"""Tells waiting requests that a job changed: one Redis subscription for the whole process, fanned out to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator

from redis.asyncio import Redis
from redis.exceptions import RedisError

from lig_core.queue.names import CHANNEL_PREFIX, channel

RECONNECT_SECONDS = 1.0
# Lost messages are not sent again, and a job whose worker died changes without one.
LOOK_ANYWAY_SECONDS = 5.0

log = logging.getLogger(__name__)


class JobWatch:
    """Notices changes of one job."""

    def __init__(self) -> None:
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
    """Hands each job's messages to those who watch that job."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._watches: defaultdict[str, set[JobWatch]] = defaultdict(set)

    @contextlib.contextmanager
    def watch(self, job_id: str) -> Iterator[JobWatch]:
        """A watch on one job, from now until the block ends."""
        key, watch = channel(job_id), JobWatch()
        self._watches[key].add(watch)
        try:
            yield watch
        finally:
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen to Redis while the block runs."""
        listener = asyncio.create_task(self._listen(), name="job changes")
        try:
            yield
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def _listen(self) -> None:
        async with Redis.from_url(self._redis_url) as redis:
            while True:
                try:
                    await self._pass_on(redis)
                except RedisError as error:
                    log.warning("job changes: Redis does not answer (%s), trying again", type(error).__name__)
                await asyncio.sleep(RECONNECT_SECONDS)

    async def _pass_on(self, redis: Redis) -> None:
        async with redis.pubsub() as subscription:
            await subscription.psubscribe(CHANNEL_PREFIX + "*")
            async for message in subscription.listen():
                if message["type"] == "psubscribe":
                    self._notify(self._watches)  # anything may have changed while nobody listened
                elif message["type"] == "pmessage":
                    self._notify([message["channel"].decode()])

    def _notify(self, channels: Iterable[str]) -> None:
        for key in channels:
            for watch in self._watches.get(key, ()):
                watch.notify()
