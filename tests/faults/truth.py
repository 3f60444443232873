"""What happened, from the side of Redis: its append-only file holds every write, whoever made it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lig_core.queue.names import POINTER


def publications(log: bytes) -> Counter[str]:
    """How often each job got a result."""
    found: Counter[str] = Counter()
    for command in commands(log):
        if command[0].upper() == b"HSET" and POINTER.encode() in command[2::2]:
            found[command[1].decode().removeprefix("rq:job:")] += 1
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
