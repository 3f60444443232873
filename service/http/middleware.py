"""The layers around every request, as plain ASGI so that streaming is left alone: ids, a log line, a body limit."""

from __future__ import annotations

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lig_core.serving import logs
from service.http import tracing
from service.http.errors import BodyTooLarge
from service.http.problems import problem_response

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
VERSION_PREFIX = "/v1"
OTHER_ROUTE = "other"
PROBES = {"/livez", "/startupz", "/readyz"}

log = logging.getLogger("service.access")


class RequestId:
    """Gives each request an id and a place in a trace: the caller's where they are sane, else new ones.

    `X-Request-Id` is echoed; `traceparent` answers with this request's own span in the caller's trace. Caches keep no
    answer that does not allow for it: how a job stands is true for a moment, and its text is the caller's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with `request.state.request_id` and `request.state.traceparent` set."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        sent_id = headers.get("x-request-id", "")
        request_id = sent_id if REQUEST_ID.fullmatch(sent_id) else tracing.new_id(128)
        parents = headers.getlist("traceparent")
        parent = tracing.parse(parents[0]) if len(parents) == 1 else None
        trace = parent.child() if parent else tracing.new_trace()
        scope.setdefault("state", {}).update(request_id=request_id, traceparent=str(trace))
        # Not taken back afterwards: the server logs an unexpected fault once this is over, in the same task.
        logs.about(request_id=request_id, trace_id=trace.trace_id)

        async def send_with_ids(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                answer["X-Request-Id"] = request_id
                answer["traceparent"] = str(trace)
                if "ETag" not in answer:  # nothing that a cache could ask again about
                    answer.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, send_with_ids)


class _HeadSent(Exception):
    """All that a HEAD request gets has been sent."""


class HeadAsGet:
    """Answers HEAD as GET is answered, without the body (RFC 9110, 9.3.2); what is streamed is not even made."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application up to the head of its answer."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            scope["method"] = "HEAD"  # the server goes by it
            await send(message)
            await send({"type": "http.response.body", "body": b""})
            raise _HeadSent

        scope["method"] = "GET"
        try:
            await self.app(scope, receive, send_head)
        except _HeadSent:
            pass
        finally:
            scope["method"] = "HEAD"


class Answered:
    """A `send` that notes the status; 500 until there is one, for that is what a fault is answered with."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 500

    async def __call__(self, message: Message) -> None:
        """Pass the message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)


class AccessLog:
    """One line for every request, by the route's template: no query, no body and no header is in it.

    Those of probes are for debugging only: they come without end, and the route itself logs when its answer changes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, then log."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, answered = time.perf_counter(), Answered(send)
        try:
            await self.app(scope, receive, answered)
        finally:
            caller = scope["state"].get("caller")
            route = route_of(scope) or OTHER_ROUTE
            fields = {
                "job_id": scope.get("path_params", {}).get("job_id") or scope["state"].get("job_id"),
                "caller": caller.name if caller else None,
                "method": scope["method"],
                "route": route,
                "status": answered.status,
                "seconds": round(time.perf_counter() - begun, 6),
            }
            log.log(_level(route, answered.status), "request", extra=fields)


def _level(route: str, status: int) -> int:
    if route in PROBES and status in (200, 503):
        return logging.DEBUG
    return logging.WARNING if status >= 500 else logging.INFO


def route_of(scope: Scope) -> str | None:
    """The template of the route that answered, without the version; None where there was none."""
    template: str | None = getattr(scope.get("route"), "path_format", None)
    return None if template is None else template.removeprefix(VERSION_PREFIX)


class _Overflow(Exception):
    """The body went on beyond the limit."""


class BodyLimit:
    """Refuses bodies beyond `limit` bytes: by their announced length, and by counting what arrives."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer 413."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdecimal() and int(announced) > self.limit:
            await self._refuse(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise _Overflow
            return message

        try:
            await self.app(scope, counted, send)
        except _Overflow:
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = BodyTooLarge(
            f"the body is larger than the {self.limit} bytes accepted; send a shorter text, or fewer at a time"
        )
        response = problem_response(error, path=scope["path"], request_id=scope["state"]["request_id"])
        # The rest of the body is not read, so the connection cannot be used again.
        response.headers["Connection"] = "close"
        await response(scope, receive, send)
