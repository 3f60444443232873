"""The events of computations for any number of listeners: one reader per process and computation, whoever listens.

A Channel keeps what was read: kinds, ids and a few numbers, never a layer. A Listener has a place of its own in it and
takes what comes next when it is ready for more, so that a slow one delays nobody and nothing piles up for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from service.events import ids
from service.jobs.job import Event, EventPage, Job

SLACK = 100
"""Events beyond `max_events` that a channel may hold before it forgets some."""


class Channel:
    """The events of one computation, as far as they were read."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        self._events: list[Event] = []
        self._order: list[tuple[int, int]] = []
        self._forgotten: str | None = None  # the last event that is missing
        self._ends: dict[str, str] = {}
        self._gone: frozenset[str] = frozenset()
        self._news = asyncio.Event()
        self.jobs: set[str] = set()  # whose ends are looked for: those that were ever listened to
        self.listeners = 0
        self.listeners_to_maps = 0
        self.joined = time.monotonic()
        self.when_left: Callable[[], None] = lambda: None  # called when its last listener goes
        self.closed = False

    @property
    def last(self) -> str | None:
        """The id of the last event that was read, after which to read on; None before the first."""
        return self._events[-1].id if self._events else None

    def listener(self, job: Job, place: str | None) -> Listener:
        """A listener to a job's events who knows those up to `place`."""
        self.joined = time.monotonic()
        if job.cancelled_after is not None:
            self._ends[job.id] = job.cancelled_after
        return Listener(self, job.id, place, reported_gap=self._forgotten if place is None else None)

    def add(self, page: EventPage, jobs: Iterable[str]) -> None:
        """Take in what was read after `last`, and what it says of these jobs."""
        if page.forgotten is not None and (self.last is None or ids.later(page.forgotten, self.last)):
            self._forgotten = page.forgotten
        job_ids = set(jobs)
        ends = {job: end for job, end in self._ends.items() if job not in job_ids} | dict(page.ends)
        if not page.events and ends == self._ends and page.gone == self._gone:
            return
        self._ends, self._gone = ends, page.gone
        self._events += page.events
        self._order += [ids.order(event.id) for event in page.events]
        if len(self._events) > self._max_events + SLACK:
            self._forget()
        self._wake()

    def close(self) -> None:
        """Let every listener go."""
        self.closed = True
        self._wake()

    def over(self, job_id: str) -> bool:
        """True if nothing more will be told of a job."""
        return self.closed or job_id in self._gone

    def after(self, job_id: str, place: str | None) -> Event | None:
        """The first event after a place that concerns a job; its own `cancelled` where it was cancelled by itself."""
        at = bisect_right(self._order, ids.order(place)) if place else 0
        event, end = self._events[at] if at < len(self._events) else None, self._ends.get(job_id)
        if end is None or (event is not None and not ids.later(event.id, end)):
            return event
        own = ids.following(end)
        return Event(own, "cancelled", {}) if place is None or ids.later(own, place) else None

    def missing(self, place: str) -> str | None:
        """The last event after a place that was forgotten, if there is one."""
        lost = self._forgotten is not None and ids.later(self._forgotten, place)
        return self._forgotten if lost else None

    async def changed(self, seconds: float) -> None:
        """Wait until something was read, or for so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _forget(self) -> None:
        """As Redis does: old progress goes, what else happened stays."""
        over = len(self._events) - self._max_events
        old = [event for event in self._events if event.kind == "progress"][:over]
        if old:
            dropped, self._forgotten = {event.id for event in old}, old[-1].id
            self._events = [event for event in self._events if event.id not in dropped]
            self._order = [ids.order(event.id) for event in self._events]


class Listener:
    """One client's place in the events of a job. `reported_gap`: the last forgotten event that it need not hear of."""

    def __init__(self, channel: Channel, job_id: str, place: str | None, *, reported_gap: str | None) -> None:
        self._channel, self._job_id, self._place, self._reported_gap = channel, job_id, place, reported_gap

    @property
    def pending(self) -> bool:
        """True if there is an event to tell at once."""
        return self._channel.after(self._job_id, self._place) is not None

    async def events(self, silence: float) -> AsyncIterator[Event | None]:
        """The events, up to a final one; None after each `silence` seconds without one.

        Ends early when the service stops or the job is no longer known.
        """
        until = time.monotonic() + silence
        while not self._channel.over(self._job_id):
            event = self._next()
            left = until - time.monotonic()
            if event is None and left > 0:
                await self._channel.changed(left)
                continue
            if event is not None:
                self._place = event.id
            yield event
            if event is not None and event.final and not self.pending:
                return
            until = time.monotonic() + silence

    @contextlib.contextmanager
    def listening(self, *, maps: bool = False) -> Iterator[None]:
        """Counts while the block runs: what nobody listens to is soon read no more. `maps`: it is told layers' maps."""
        self._channel.listeners += 1
        self._channel.listeners_to_maps += maps
        try:
            yield
        finally:
            self._channel.listeners -= 1
            self._channel.listeners_to_maps -= maps
            self._channel.joined = time.monotonic()
            if not self._channel.listeners:
                self._channel.when_left()

    def _next(self) -> Event | None:
        event = self._channel.after(self._job_id, self._place)
        if event is None or self._place is None:
            return event
        before, missing = ids.preceding(event.id), self._channel.missing(self._place)
        if missing in (None, self._reported_gap) or self._place == before:
            return event
        self._reported_gap = missing
        there = self._channel.after(self._job_id, missing) or event
        return Event(before, "gap", {"after": self._place, "next": there.id})
