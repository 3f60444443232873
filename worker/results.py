"""Where results go: gzip-compressed JSON under a Redis key of their own; the queue carries only a pointer."""

from __future__ import annotations

import gzip
from dataclasses import asdict, dataclass
from typing import Any

from rq.job import Job

KEY_PREFIX = "lig:result:"
DEFAULT_TTL_SECONDS = 24 * 3600
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


def write_result(job: Job, plain: bytes) -> ResultPointer:
    """Store a job's result, given as JSON, for as long as the job says."""
    # gzip, because a browser or curl can be sent the stored bytes as they are; level 1 is as good on digits.
    stored = gzip.compress(plain, compresslevel=1, mtime=0)
    ref = KEY_PREFIX + job.id
    job.connection.set(ref, stored, ex=job.get_result_ttl(DEFAULT_TTL_SECONDS) + LONGER_THAN_POINTER_SECONDS)
    return ResultPointer(ref, len(plain), len(stored))
