"""The scripts that change jobs. Redis carries out each in one piece: a move is there entirely or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from redis import Redis
from redis.client import Pipeline
from redis.commands.core import Script
from redis.exceptions import NoScriptError

from lig_core.serving.queue import counters, names


class Scripts:
    """Calls `lua/<name>.lua`, such as `job/admit`, on one queue, with one JSON object as its argument."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._redis, self._queue = redis, queue
        self._registered: dict[str, Script] = {}

    def call(self, name: str, **arguments: Any) -> Any:
        """Run the script; its answer as Redis gives it."""
        return self._script(name)(args=[self._argument(arguments)])

    def call_after(self, write: Callable[[Pipeline], Any], name: str, **arguments: Any) -> Any:
        """Run the script right after what `write` writes, in the same round trip; raises the first error of the two.

        Both are sent again where the answer is lost or Redis does not know the script, so both must bear that. And the
        script runs though the write was refused: it has to look.
        """
        script = self._script(name)
        while True:
            with self._redis.pipeline(transaction=False) as pipe:
                write(pipe)
                pipe.evalsha(script.sha, 0, self._argument(arguments))
                answers = pipe.execute(raise_on_error=False)
            errors = [answer for answer in answers if isinstance(answer, Exception)]
            if not errors:
                return answers[-1]
            if not isinstance(errors[0], NoScriptError):
                raise errors[0]
            self._redis.script_load(script.script)

    def _script(self, name: str) -> Script:
        if name not in self._registered:
            self._registered[name] = self._redis.register_script(source(name))
        return self._registered[name]

    def _argument(self, arguments: Mapping[str, Any]) -> bytes:
        return orjson.dumps({"queue": self._queue, **arguments})


@cache
def source(name: str) -> str:
    """A script with what all scripts share before it."""
    folder = files(__package__) / "lua"
    return "\n".join([_constants(), *((folder / f"{each}.lua").read_text() for each in ("common", name))])


def _constants() -> str:
    """The tables that Python has too. A field that there is not ends a script, where it would be none to Redis."""
    bounds = {name: "{" + ", ".join(f"{bound:g}" for bound in each) + "}" for name, each in counters.HISTOGRAMS.items()}
    return f"""local FIELD = setmetatable({_texts({field.name.lower(): field for field in names.Field})}, {{
  __index = function(_, name) error('no field ' .. name) end
}})
local KEYS_OF_A_QUEUE = {_texts(names.KEYS)}
local TYPES_OF_QUEUE = {_texts(names.TYPES_OF_QUEUE)}
local PROBE, RQ_QUEUES = '{names.PROBE}', '{names.RQ_QUEUES}'
local BOUNDS = {_table(bounds)}
local ARGUMENTS = cjson.decode(ARGV[1])"""


def _texts(texts: Mapping[str, str]) -> str:
    return _table({name: f"'{text}'" for name, text in texts.items()})


def _table(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"
