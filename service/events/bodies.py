"""Large parts of events, made once for all who send them at the time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from weakref import WeakValueDictionary

import orjson
from fastapi.concurrency import run_in_threadpool

from lig_core.result.arrays import LayerArrays
from lig_core.result.formats import layer_line
from service.jobs.job import Event, Job, JobStore, StoredLayer

LARGE = {"head", "layer"}
"""Kinds of events that have a part of the result in them."""


@dataclass(frozen=True, eq=False)
class Body:
    """Bytes that several responses send from."""

    data: bytes


class SharedBodies:
    """Keeps the bodies last used, up to `limit` bytes of them; one that is being sent is shared as long as it is."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._kept: OrderedDict[str, Body] = OrderedDict()
        self._sent: WeakValueDictionary[str, Body] = WeakValueDictionary()
        self._making: dict[str, asyncio.Task[Body]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def get(self, name: str, make: Callable[[], bytes]) -> Body:
        """The body of this name, from `make` where it is not there. Raises what `make` raises."""
        body = self._kept.get(name) or self._sent.get(name)
        if body is not None:
            return self._keep(name, body)
        if name not in self._making:
            task = asyncio.create_task(self._make(make))
            self._making[name] = task
            task.add_done_callback(lambda _: self._making.pop(name))
        return self._keep(name, await asyncio.shield(self._making[name]))

    async def _make(self, make: Callable[[], bytes]) -> Body:
        async with self._one_at_a_time:
            return Body(await run_in_threadpool(make))

    def _keep(self, name: str, body: Body) -> Body:
        if name not in self._kept:
            self._sent[name] = self._kept[name] = body
            self._size += len(body.data)
        self._kept.move_to_end(name)
        while self._size > self._limit:
            _, oldest = self._kept.popitem(last=False)
            self._size -= len(oldest.data)
        return body


class EventBodies:
    """The data of events that have a part of the result in them, as JSON: a body for each computation and event."""

    def __init__(self, jobs: JobStore, limit: int) -> None:
        self._jobs = jobs
        self._bodies = SharedBodies(limit)

    async def get(self, job: Job, event: Event) -> Body:
        """The data of a `head` or a `layer`. Raises what the store raises."""
        make = self._head if event.kind == "head" else self._layer
        return await self._bodies.get(f"{job.computation} {event.id}", partial(make, job, event))

    def _head(self, job: Job, event: Event) -> bytes:
        return orjson.dumps(self._jobs.read_head(self._jobs.get(None, job.id)))

    def _layer(self, job: Job, event: Event) -> bytes:
        layer = StoredLayer(**event.data)
        job = replace(self._jobs.get(None, job.id), layers=(layer,))
        return layer_line(self._jobs.read_head(job), LayerArrays.from_bytes(self._jobs.read_layer(job, layer.index)))
