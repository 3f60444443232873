"""What happened, from the side of Redis: its append-only file holds every write, whoever made it."""

from __future__ import annotations

import mmap
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis

from lig_core.serving.queue.names import Field
from tests.faults import keys
from tests.faults.orders import LAYERS

PARTS = (Field.HEAD, *(f"{Field.LAYER}{n}" for n in range(LAYERS)), "finished")
COMPUTATION = keys.of("computation", "")


def doubled(files: Iterable[Path], computed: Iterable[str]) -> dict[str, int]:
    """How many parts of results were made their computation's twice, and how many of those `computed` never."""
    found: Counter[tuple[str, str]] = Counter()
    for file in files:
        if file.stat().st_size:
            with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as log:
                found += publications(log)
    return {
        "published_twice": sum(1 for times in found.values() if times > 1),
        "published_never": sum(1 for each in computed for part in PARTS if found[each, part] == 0),
    }


def finished(redis: Redis) -> list[str]:
    """The computations that succeeded."""
    return [raw.decode() for raw in redis.zrange(keys.of_queue("finished"), 0, -1)]


def left_over(redis: Redis, seconds: float) -> dict[str, float]:
    """What the queue still keeps of unfinished jobs after so many seconds at most; all of it is 0 without any."""
    deadline = time.monotonic() + seconds
    while any((left := _unfinished(redis)).values()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _unfinished(redis: Redis) -> dict[str, float]:
    left = {kind: redis.zcard(keys.of_queue(kind)) for kind in ("waiting", "popped", "leases")}
    owed = float(redis.get(keys.of_queue("backlog")) or 0)
    return {**left, "unfinished": redis.scard(keys.of("live", keys.ANYONE)), "backlog": round(owed, 3)}


def publications(log: Any) -> Counter[tuple[str, str]]:
    """How often each part of each computation was made its own, and (part `finished`) how often each succeeded."""
    found: Counter[tuple[str, str]] = Counter()
    for command in commands(log):
        key = command[1] if len(command) > 1 else b""
        if command[0].upper() not in {b"HSET", b"HMSET"} or not key.startswith(COMPUTATION.encode()):
            continue
        computation = key.decode().removeprefix(COMPUTATION)
        for name, value in zip(command[2::2], command[3::2], strict=False):
            if name == Field.HEAD.encode() or name.startswith(Field.LAYER.encode()):
                found[computation, name.decode()] += 1
            if (name, value) == (b"status", b"finished"):
                found[computation, "finished"] += 1
    return found


def commands(log: Any) -> Iterator[list[bytes]]:
    """The commands of an append-only file, in memory or mapped into it; a torn last one is left out."""
    at = 0
    while at < len(log) and log[at : at + 1] == b"*":
        end = log.find(b"\r\n", at)
        parts, here = [], end + 2
        for _ in range(int(log[at + 1 : end])):
            end = log.find(b"\r\n", here)
            if end < 0:
                return
            size = int(log[here + 1 : end])
            parts.append(log[end + 2 : end + 2 + size])
            here = end + 2 + size + 2
        if here > len(log):
            return
        yield parts
        at = here
