"""What happened, from the side of Redis: its append-only file holds every write, whoever made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lig_core.queue.names import HEAD, LAYER, key

COMPUTATION = key("computation", "lig", "")


def publications(log: bytes) -> Counter[tuple[str, str]]:
    """How often each part of each computation was made its own, and (part `finished`) how often each succeeded."""
    found: Counter[tuple[str, str]] = Counter()
    for command in commands(log):
        changed = command[1].decode() if len(command) > 1 else ""
        if command[0].upper() not in {b"HSET", b"HMSET"} or not changed.startswith(COMPUTATION):
            continue
        computation = changed.removeprefix(COMPUTATION)
        for name, value in zip(command[2::2], command[3::2], strict=False):
            if name == HEAD.encode() or name.startswith(LAYER.encode()):
                found[computation, name.decode()] += 1
            if (name, value) == (b"status", b"finished"):
                found[computation, "finished"] += 1
    return found


def commands(log: bytes) -> Iterator[list[bytes]]:
    """The commands of an append-only file; a torn last one is left out."""
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
