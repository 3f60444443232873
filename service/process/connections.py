"""The connections of this process: how many there may be, and which go when there are too many.

One that only waits for its client can be closed without loss, and a client opens another when it has something to
say. So newcomers are refused only where all others have requests under way.
"""

from __future__ import annotations

import ipaddress
import itertools
import resource
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Protocol

OTHER_FILES = 256
"""Open files beside connections: to Redis, to webhooks' receivers, the program's own."""
UNIX = "unix"
"""In place of an address, where it came through a unix socket: from a proxy of this machine."""
IPV6_CLIENT_BITS = 64
"""Of an IPv6 address; the rest is the client's own to choose."""


class Connection(Protocol):
    """A connection that is counted."""

    @property
    def peer(self) -> str | None:
        """The address at the other end; None where there is none, as on a unix socket."""

    def make_way(self) -> None:
        """Close; nothing is under way."""


class Connections:
    """At most `limit` of them, and of one client `client_limit`, but for those of `proxies`, who speak for many."""

    def __init__(self, limit: int, client_limit: int, proxies: Iterable[str] = ()) -> None:
        self._limit, self._client_limit = limit, client_limit
        self._proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in proxies]
        self._client_of: dict[Connection, str] = {}
        self._counts: Counter[str] = Counter()
        # When each began to wait, as a number that only grows; of one client the longest wait comes first.
        self._waiting: defaultdict[str, dict[Connection, int]] = defaultdict(dict)
        self._moments = itertools.count()

    def admit(self, connection: Connection) -> bool:
        """Count a new one, closing one that waits where there would be too many; False: there is no place for it."""
        address = _address(connection.peer)
        client = _client(address)
        limited = connection.peer != UNIX and not any(
            address in network for network in self._proxies if address is not None
        )
        if limited and self._counts[client] >= self._client_limit and not self._close_one_of(client):
            return False
        if len(self._client_of) >= self._limit and not self._close_one_of(self._largest_that_waits()):
            return False
        self._client_of[connection] = client
        self._counts[client] += 1
        return True

    def waits(self, connection: Connection) -> None:
        """From now on, nothing but its client can go on."""
        client = self._client_of.get(connection)
        if client is not None:
            self._waiting[client].pop(connection, None)
            self._waiting[client][connection] = next(self._moments)

    def works(self, connection: Connection) -> None:
        """A request is under way."""
        client = self._client_of.get(connection)
        if client is not None:
            self._waiting[client].pop(connection, None)

    def gone(self, connection: Connection) -> None:
        """It is closed, or about to be."""
        self.works(connection)
        client = self._client_of.pop(connection, None)
        if client is not None:
            self._counts[client] -= 1
            if not self._counts[client]:
                del self._counts[client]
                self._waiting.pop(client, None)

    def _largest_that_waits(self) -> str | None:
        """The client with the most connections; among those with as many, the one that waits longest."""
        candidates = [
            (self._counts[client], -next(iter(waiting.values())), client)
            for client, waiting in self._waiting.items()
            if waiting
        ]
        return max(candidates)[2] if candidates else None

    def _close_one_of(self, client: str | None) -> bool:
        longest = next(iter(self._waiting.get(client, ())), None) if client is not None else None
        if longest is None:
            return False
        self.gone(longest)
        longest.make_way()
        return True


def _address(peer: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _client(address: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> str:
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((int(address), IPV6_CLIENT_BITS), strict=False))
    return str(address)


def places(wanted: int) -> int:
    """The connections that there may be, of those wanted: as many as files may be open. Raises the soft limit to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(wanted, allowed - OTHER_FILES))
