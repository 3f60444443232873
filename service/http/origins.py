"""The origins of requests: calls from web pages of other origins (CORS), and a guard against DNS rebinding.

A web page may give its own name the address 127.0.0.1; a browser then lets it read, as its own, what an open service
on that machine answers. The header `Host` still gives the page's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.errors import WrongHost
from service.http.problems import problem_response

METHODS = ("GET", "HEAD", "POST", "DELETE")
SENT = (
    "Authorization",
    "Cache-Control",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Prefer",
    "X-Request-Id",
    "traceparent",
)
READ = (
    "Content-Disposition",
    "ETag",
    "Idempotent-Replayed",
    "Link",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "Server-Timing",
    "X-Request-Id",
    "traceparent",
)


def cors(origins: Sequence[str]) -> list[Middleware]:
    """Nothing where no origin is allowed. No cookies: who calls is told by the key in `Authorization` alone."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=METHODS, allow_headers=SENT, expose_headers=READ
        )
    ]


def hosts(patterns: Sequence[str] | None) -> list[Middleware]:
    """Nothing where any host will do (None)."""
    return [] if patterns is None else [Middleware(KnownHosts, patterns=patterns)]


class KnownHosts:
    """Refuses requests to other hosts than these, which are names, addresses, or patterns such as `*.example.org`."""

    def __init__(self, app: ASGIApp, patterns: Sequence[str]) -> None:
        self.app = app
        self._patterns = [_bare(pattern) for pattern in patterns]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer 421."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = Headers(scope=scope).getlist("host")
        if len(sent) == 1 and any(fnmatchcase(_bare(sent[0]), pattern) for pattern in self._patterns):
            await self.app(scope, receive, send)
            return
        error = WrongHost(
            f"this service does not answer to the host {', '.join(sent) or '(none)'!r}; ask for it as 127.0.0.1 or "
            'localhost, or name the host that it has behind a proxy, such as LIG_ALLOWED_HOSTS=["lig.example.org"]'
        )
        response = problem_response(error, path=scope["path"], request_id=scope["state"]["request_id"])
        await response(scope, receive, send)


def _bare(host: str) -> str:
    """A host without its port, and an IPv6 address without its brackets."""
    host = host.lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and ":" not in name and port.isdecimal() else host
