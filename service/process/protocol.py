"""HTTP on one connection, by uvicorn, with limits on what a client may take of the service before a request is there.

Uvicorn's parser gathers a head of any length, and waits for the rest of a request for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from lig_core.errors import LigError
from service.http.errors import HeadTooLarge, MalformedHttp, RequestTimeout, TooManyConnections
from service.http.problems import problem_response
from service.process.connections import UNIX, Connections
from service.settings import Settings

LINGER_SECONDS = 1.0
LINGER_BYTES = 2**20
"""The time and the bytes for which a client that is refused amid its request is still listened to: were the
connection closed over unread bytes, the answer would be lost with it."""
FIELD_BYTES = len(": \r\n")

log = logging.getLogger("service.access")


class Phase(Enum):
    """The next thing awaited on a connection."""

    IDLE = auto()  # another request, after an answer
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    CLOSING = auto()


@dataclass(frozen=True)
class Limits:
    """Bytes of a head, and seconds for a head, a body, and for an answer to be taken."""

    head_bytes: int
    head: float
    body: float
    send: float

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits in the settings."""
        return cls(settings.max_head_bytes, settings.head_timeout, settings.body_timeout, settings.send_timeout)


class LimitedProtocol(HttpToolsProtocol):
    """Uvicorn's protocol within limits; what goes beyond is answered with a problem where that still can be."""

    def __init__(self, *args: Any, limits: Limits, peers: Connections, **named: Any) -> None:
        super().__init__(*args, **named)
        self._limits, self._peers = limits, peers
        self._phase: Phase | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._in_head = False
        self._advanced = False
        self._gathered = 0  # bytes that the parser keeps: those since it last got somewhere
        self._discarded: int | None = None

    @property
    def peer(self) -> str | None:
        """The address at the other end, or UNIX."""
        if self.transport.get_extra_info("socket").family == socket.AF_UNIX:
            return UNIX
        return self.client[0] if self.client else None

    def make_way(self) -> None:
        """Close; nothing is under way."""
        self.transport.close()
        self._look()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Count it, and wait for a first request."""
        super().connection_made(transport)
        if not self._peers.admit(self):
            self._answer(TooManyConnections("all connections are in use; send the request again in a moment"))
            transport.close()
        self._look()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._peers.gone(self)
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Parse, unless there is too much to be kept."""
        if self._discarded is not None:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.transport.abort()
            return
        if self.transport.is_closing():
            return
        self._advanced = False
        super().data_received(data)
        self._gathered = 0 if self._advanced else self._gathered + len(data)
        if self._gathered > self._limits.head_bytes:
            self._refuse(self._head_too_large())
        self._look()

    @override
    def send_400_response(self, msg: str) -> None:
        self._refuse(MalformedHttp("what came is not HTTP/1.1; see /docs for what can be asked"))

    @override
    def on_message_begin(self) -> None:
        self._in_head = self._advanced = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head may have come at once, and be too large all the same."""
        self._in_head, self._advanced = False, True
        app = self.app
        size = len(self.url) + sum(len(name) + len(value) + FIELD_BYTES for name, value in self.headers)
        if size > self._limits.head_bytes:
            self.app = _refusing(self._head_too_large())
        try:
            super().on_headers_complete()
        finally:
            self.app = app

    @override
    def on_body(self, body: bytes) -> None:
        self._advanced = True
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Called when an answer is written."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """The client does not take the answer as fast as it is made."""
        super().pause_writing()
        self._look_at_stall(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has taken most of it."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _look_at_stall(self, unsent: int) -> None:
        def look() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unsent:
                self._look_at_stall(left)
            else:
                self.transport.abort()

        self._stalled = self.loop.call_later(self._limits.send, look)

    def _look(self) -> None:
        """See what is awaited now, and from when on it is late."""
        phase = self._awaited()
        if phase is self._phase:
            return
        self._phase = phase
        if self._timer is not None:
            self._timer.cancel()
        seconds = self._seconds(phase)
        self._timer = self.loop.call_later(seconds, self._late) if seconds is not None else None
        if phase is Phase.CLOSING:
            self._peers.gone(self)
        elif phase is Phase.ANSWER:
            self._peers.works(self)
        else:
            self._peers.waits(self)

    def _awaited(self) -> Phase:
        if self._discarded is not None or self.transport.is_closing():
            return Phase.CLOSING
        if self.cycle is not None and not self.cycle.response_complete:
            return Phase.BODY if self.cycle.more_body and not self.pipeline else Phase.ANSWER
        return Phase.HEAD if self._in_head or self.cycle is None else Phase.IDLE

    def _seconds(self, phase: Phase) -> float | None:
        if phase is Phase.CLOSING:
            return self._limits.send if self._discarded is None else LINGER_SECONDS
        awaited = {Phase.IDLE: self.timeout_keep_alive, Phase.HEAD: self._limits.head, Phase.BODY: self._limits.body}
        return awaited.get(phase)

    def _late(self) -> None:
        if self._phase is Phase.CLOSING:
            self.transport.abort()
        elif self._phase is Phase.BODY or self._in_head:
            part, seconds = ("body", self._limits.body) if self._phase is Phase.BODY else ("head", self._limits.head)
            self._refuse(
                RequestTimeout(f"the {part} of the request did not arrive within {seconds:g} s; send it again")
            )
            self._look()
        else:
            self.make_way()

    def _head_too_large(self) -> HeadTooLarge:
        return HeadTooLarge(
            f"the head of the request is larger than the {self._limits.head_bytes} bytes accepted; send fewer or "
            "shorter header fields, and what is long in the body"
        )

    def _refuse(self, error: LigError) -> None:
        """Answer in the middle of a request, where none is begun, and close."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.pipeline or (
            self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete
        ):
            self.transport.abort()
            return
        self._answer(error)
        self._discarded = 0
        self.flow.resume_reading()
        self.transport.write_eof()

    def _answer(self, error: LigError) -> None:
        response = _closing(error)
        log.info("refused: %s", error.code, extra={"status": response.status_code})
        fields = [*self.server_state.default_headers, *response.raw_headers]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[response.status_code] + head + b"\r\n" + bytes(response.body))


def _closing(error: LigError) -> Response:
    return problem_response(error, path="", request_id=uuid.uuid4().hex, headers={"Connection": "close"})


def _refusing(error: LigError) -> Callable[[Scope, Receive, Send], Any]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = _closing(error)
        log.info("refused: %s", error.code, extra={"status": response.status_code})
        await response(scope, receive, send)

    return app
