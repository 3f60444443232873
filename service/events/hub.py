"""The readers behind listeners: one task for each computation that somebody listens to, none for the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool

from service.events.bodies import LARGE, EventBodies
from service.events.channel import Channel, Listener
from service.http.errors import StoreUnavailable
from service.jobs.job import Event, Job, JobStore
from service.lifecycle import Lifecycle

PAGE = 500
"""Events read at once."""
LINGER_SECONDS = 5.0
"""The time that a channel without listeners is kept: whoever lost a connection is back by then."""
LOOK_SECONDS = 60.0
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Followed:
    channel: Channel
    reading: asyncio.Task[None]
    ready: asyncio.Future[None]


class Hub:
    """The channels of this process."""

    def __init__(self, jobs: JobStore, lifecycle: Lifecycle, max_events: int, cache_bytes: int) -> None:
        self.bodies = EventBodies(jobs, cache_bytes)
        self._jobs, self._lifecycle, self._max_events = jobs, lifecycle, max_events
        self._followed: dict[str, _Followed] = {}

    @property
    def channels(self) -> int:
        """The number of computations that are read."""
        return len(self._followed)

    @property
    def listeners(self) -> int:
        """The number of listeners, over all computations."""
        return sum(each.channel.listeners for each in self._followed.values())

    async def join(self, job: Job, place: str | None) -> Listener:
        """A listener who has read up to `place`, once there is something to tell.

        Raises what the store raises, and Draining.
        """
        followed = self._followed.get(job.computation)
        if followed is None:
            followed = self._follow(job)
        elif job.id not in followed.channel.jobs:
            followed.channel.jobs.add(job.id)  # from now on the reader sees its end; what came before is read here
            job = await run_in_threadpool(self._jobs.get, None, job.id)
        await asyncio.shield(followed.ready)
        self._lifecycle.refuse_while_draining()  # only now: from here on `_end` finds the channel
        return followed.channel.listener(job, place)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let all listeners go when the process is told to stop: the server waits for their connections."""
        try:
            with self._lifecycle.telling(self._end):
                yield
        finally:
            for each in list(self._followed.values()):
                each.reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await each.reading

    def _follow(self, job: Job) -> _Followed:
        channel, ready = Channel(self._max_events), asyncio.get_running_loop().create_future()
        channel.jobs.add(job.id)
        task = asyncio.create_task(self._read(job, channel, ready), name=f"events of {job.computation}")
        self._followed[job.computation] = _Followed(channel, task, ready)
        return self._followed[job.computation]

    async def _read(self, job: Job, channel: Channel, ready: asyncio.Future[None]) -> None:
        try:
            with self._jobs.watch(job) as watch:
                channel.when_left = watch.notify
                while not ready.done() or channel.listeners or time.monotonic() < channel.joined + LINGER_SECONDS:
                    if await self._read_on(job, channel, wait=ready.done()):
                        continue
                    if not ready.done():
                        ready.set_result(None)
                    await watch.changed(LOOK_SECONDS if channel.listeners else LINGER_SECONDS)
        except Exception as error:
            if ready.done():
                raise
            ready.set_exception(error)
        finally:
            del self._followed[job.computation]
            channel.close()  # whoever came too late comes again

    async def _read_on(self, job: Job, channel: Channel, *, wait: bool) -> bool:
        """Read on; True if there is more to read at once."""
        job_ids = list(channel.jobs)
        try:
            page = await run_in_threadpool(self._jobs.read_events, job.computation, channel.last, PAGE, job_ids)
        except StoreUnavailable as error:
            if not wait:
                raise
            log.warning("events: %s (%s)", error.detail, error.__cause__)
            await asyncio.sleep(RETRY_SECONDS)
            return True
        if channel.listeners_to_maps:
            await self._make_bodies(job, page.events)
        channel.add(page, job_ids)
        return len(page.events) == PAGE

    async def _make_bodies(self, job: Job, events: Sequence[Event]) -> None:
        """Before anybody is told: of a thousand listeners none has to wait for a body, once for each event."""
        for event in events:
            if event.kind in LARGE:
                with contextlib.suppress(Exception):  # whoever listens meets it
                    await self.bodies.get(job, event)

    def _end(self) -> None:
        for each in self._followed.values():
            each.channel.close()
