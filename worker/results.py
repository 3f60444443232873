"""Where results go: gzip-compressed JSON under a Redis key of their own; the queue carries only a pointer."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

KEY_PREFIX = "lig:result:"
# The pointer is written after the result and expires with its job: it must not outlive what it points at.
LONGER_THAN_POINTER_SECONDS = 60


@dataclass(frozen=True)
class ResultPointer:
    """Where a result lies; `size` and `stored_size` are bytes before and after compression."""

    ref: str
    size: int
    stored_size: int
    codec: str = "gzip"

    def as_dict(self) -> dict[str, Any]:
        """The pointer as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class ResultStore:
    """Writes results that last `ttl` seconds."""

    redis: Redis
    ttl: int

    def write(self, job_id: str, plain: bytes) -> ResultPointer:
        """Store a result given as JSON."""
        # gzip, because a browser or curl can be sent the stored bytes as they are; level 1 is as good on digits.
        stored = gzip.compress(plain, compresslevel=1, mtime=0)
        ref = KEY_PREFIX + job_id
        self.redis.set(ref, stored, ex=self.ttl + LONGER_THAN_POINTER_SECONDS)
        return ResultPointer(ref, len(plain), len(stored))
