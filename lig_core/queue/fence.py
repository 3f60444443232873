"""Commands that are carried out together, and only if a job is still where it was last seen.

A worker that was frozen or cut off may come back after its job was given to another: whatever it then writes about
the job must not count. Looking first and writing afterwards leaves a gap, so both are one script in Redis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.client import Pipeline

SCRIPT = """
local kind, member, latest = ARGV[1], ARGV[2], ARGV[3]
if kind == 'listed' then
  if redis.call('LREM', KEYS[1], 1, member) == 0 then return 0 end
else
  local score = redis.call('ZSCORE', KEYS[1], member)
  if not score or (latest ~= '' and tonumber(score) > tonumber(latest)) then return 0 end
end
local at = 4
while at <= #ARGV do
  local count = tonumber(ARGV[at])
  redis.call(unpack(ARGV, at + 1, at + count))
  at = at + count + 1
end
return 1
"""


@dataclass(frozen=True)
class Listed:
    """On a list, such as a queue; moving away takes it off."""

    key: str
    member: str

    def arguments(self) -> tuple[str, str, str]:
        """For the script."""
        return "listed", self.member, ""


@dataclass(frozen=True)
class Scored:
    """In a sorted set with a score of at most `latest`, such as a lease by its end, or a job that ended."""

    key: str
    member: str
    latest: float = math.inf

    def arguments(self) -> tuple[str, str, str]:
        """For the script."""
        return "scored", self.member, "" if math.isinf(self.latest) else repr(self.latest)


Place = Listed | Scored


def run_if_at(redis: Redis, place: Place, commands: Pipeline) -> bool:
    """Carry out the collected commands if `place` still holds; whether they were."""
    flat: list[Any] = []
    for arguments, _ in commands.command_stack:
        flat += [len(arguments), *arguments]
    return bool(redis.register_script(SCRIPT)(keys=[place.key], args=[*place.arguments(), *flat]))


def server_time(redis: Redis) -> float:
    """Seconds since the epoch by the server's clock: leases do not depend on the clocks of several machines."""
    seconds, microseconds = redis.time()
    return float(seconds) + microseconds / 1e6
