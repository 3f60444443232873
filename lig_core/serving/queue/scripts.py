"""The scripts that change jobs. Redis carries out each in one piece: a move is there entirely or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from redis import Redis

from lig_core.serving.queue import counters, names

Script = Callable[..., Any]


class Scripts:
    """Calls `lua/<name>.lua` on one queue, with one JSON object as its argument."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._redis, self._queue = redis, queue
        self._registered: dict[str, Any] = {}

    def call(self, name: str, **arguments: Any) -> Any:
        """What the script returns."""
        if name not in self._registered:
            self._registered[name] = self._redis.register_script(source(name))
        return self._registered[name](args=[orjson.dumps({"queue": self._queue, **arguments})])


@cache
def source(name: str) -> str:
    """A script with what all scripts share before it."""
    folder = files(__package__) / "lua"
    return "\n".join([_constants(), *((folder / f"{each}.lua").read_text() for each in ("common", name))])


def _constants() -> str:
    keys = ", ".join(f"{kind} = '{key}'" for kind, key in names.KEYS.items())
    bounds = ", ".join(
        f"{name} = {{{', '.join(f'{bound:g}' for bound in found)}}}" for name, found in counters.HISTOGRAMS.items()
    )
    types = ", ".join(f"{kind} = '{of}'" for kind, of in names.TYPES_OF_QUEUE.items())
    return f"""local KEYS_OF_A_QUEUE = {{{keys}}}
local TYPES_OF_QUEUE = {{{types}}}
local PROBE = '{names.PROBE}'
local BOUNDS = {{{bounds}}}
local ARGUMENTS = cjson.decode(ARGV[1])"""
