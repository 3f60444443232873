"""Answers that are sent as they are made, in small pieces: what is in memory of one is the part being sent."""

from __future__ import annotations

import logging
import zlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any

import zstandard
from fastapi.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse
from starlette.types import Send

from lig_core.errors import LigError

PIECE = 64 * 1024
"""Bytes sent at once: what a connection buffers when its reader is slow."""
PORTION = 4 * PIECE
"""Bytes compressed, or handed from thread to thread, at once."""
GZIP = 16 + zlib.MAX_WBITS
FAST = 1
"""Compression level of both: what is sent is mostly digits, on which higher ones gain little."""

log = logging.getLogger(__name__)


class StreamedResponse(StreamingResponse):
    """Sends what an async generator yields. Where that fails, the connection is cut: nobody takes a part for all."""

    body_iterator: Any

    async def stream_response(self, send: Send) -> None:
        """Send the head at once, then each piece as it comes."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with aclosing(self.body_iterator) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except LigError as error:
            # Without an end: the server cuts the connection.
            log.warning("an answer was broken off: %s: %s", error.code, error.detail)
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def in_pieces(parts: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The parts, each made in a thread and cut up."""
    while portion := await run_in_threadpool(_portion, parts):
        for piece in cut(portion):
            yield piece
        del portion  # or it is in memory until the next one is made


def _portion(parts: Iterator[bytes]) -> bytes:
    """Enough parts to be worth the way from one thread to another; nothing after the last."""
    gathered, size = [], 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= PORTION:
            break
    return b"".join(gathered)


def cut(data: bytes) -> Iterator[bytes]:
    """The bytes in pieces that do not keep the whole alive."""
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts as one gzip file."""
    compressor = zlib.compressobj(FAST, wbits=GZIP)
    return _compressed(parts, compressor.compress, compressor.flush)


def zstandard_compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts as one zstd frame."""
    compressor = zstandard.ZstdCompressor(level=FAST).compressobj()
    return _compressed(parts, compressor.compress, compressor.flush)


def _compressed(
    parts: Iterable[bytes], compress: Callable[[Any], bytes], flush: Callable[[], bytes]
) -> Iterator[bytes]:
    for part in parts:
        for start in range(0, len(part), PORTION):
            if compressed := compress(memoryview(part)[start : start + PORTION]):
                yield compressed
        del part
    yield flush()
