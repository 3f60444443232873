"""Large parts of events, made once for all who send them at the time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from fastapi.concurrency import run_in_threadpool


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
        body = self._sent.get(name)
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
