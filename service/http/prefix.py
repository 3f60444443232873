"""The prefix of the service behind a proxy: the beginning of every path that callers see and routes do not.

It is ASGI's `root_path`, and `path` has it in front, so that what is made of the request's path has it too; links are
made with `Root`.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.settings import joined_prefix

HEADER = "X-Forwarded-Prefix"


class RootPath:
    """Tells the application its prefix: what a proxy says that it took off the path, else the setting's.

    The proxy takes it off or not: a path that begins with the setting's prefix is taken to have it still. `proxies`
    are the addresses and networks whose header is believed; who comes through a unix socket is believed.

    Redirects are made to name the path alone: host and scheme may be other ones before the proxy.
    """

    def __init__(self, app: ASGIApp, root_path: str, proxies: Sequence[str]) -> None:
        self.app = app
        self._root_path = root_path
        self._proxies = [ip_network(proxy) for proxy in proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application with `root_path` and `path` set."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        prefixes = Headers(scope=scope).getlist(HEADER)
        told = prefixes and _is_of(scope, self._proxies)
        taken_off = joined_prefix(",".join(prefixes).split(",")) if told else ""
        root, path = taken_off or self._root_path, scope["path"]
        there = not taken_off and (path == root or path.startswith(f"{root}/"))
        scope["root_path"] = root
        scope["path"] = path if there else root + path

        async def send_path(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if urlsplit(headers.get("Location", "")).netloc:
                    headers["Location"] = urlsplit(headers["Location"])._replace(scheme="", netloc="").geturl()
            await send(message)

        await self.app(scope, receive, send_path)


def _is_of(scope: Scope, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        peer = ip_address(scope["client"][0])
    except TypeError:  # no address: it came through a unix socket, where nobody is but who this machine lets in
        return True
    except ValueError:
        return False
    peer = getattr(peer, "ipv4_mapped", None) or peer
    return any(peer in network for network in networks)


def root_of(request: Request) -> str:
    """The beginning of the paths of links."""
    return request.scope.get("root_path", "")


async def _root(request: Request) -> str:
    return root_of(request)


Root = Annotated[str, Depends(_root)]
"""For the parameter of a handler that makes links."""
