"""Parts of results as they lie in Redis: compressed, each in a key of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import zstandard
from redis import Redis

LEVEL = 1
"""zstd's fastest: as small as higher ones on digits and float32."""

UNCLAIMED_SECONDS = 600
"""How long a part is kept that no computation points at: its attempt has that long to say so."""


def compressed(plain: bytes) -> bytes:
    """A part as it is stored."""
    return zstandard.ZstdCompressor(level=LEVEL).compress(plain)


def write(redis: Redis, ref: str, stored: bytes) -> None:
    """Store a compressed part."""
    redis.set(ref, stored, ex=UNCLAIMED_SECONDS)


def read(redis: Redis, refs: Sequence[str]) -> list[bytes | None]:
    """Parts as they were before they were stored, in one round trip; None for each that is no longer kept."""
    stored: Any = redis.mget(refs)
    return [None if each is None else zstandard.ZstdDecompressor().decompress(each) for each in stored]
