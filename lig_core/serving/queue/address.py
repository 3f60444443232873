"""Where Redis is: a server by its URL, or the one that Sentinels say is the master.

    redis://[user:password@]host[:6379][/database], and rediss:// with TLS
    unix://[user:password@]/path/of/the/socket
    redis+sentinel://[user:password@]host[:26379],host…/name of the master[/database], and rediss+sentinel://

The user and the database are Redis's own. Options of redis-py's connections may follow as a query; those of the
connections to Sentinels begin with `sentinel_`, such as `sentinel_password`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from redis import BlockingConnectionPool, Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.asyncio.sentinel import Sentinel as AsyncSentinel
from redis.backoff import NoBackoff
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelManagedConnection, SentinelManagedSSLConnection

SENTINELS = {"redis+sentinel": False, "rediss+sentinel": True}
"""Schemes of masters that Sentinels watch, and whether all of them are reached by TLS."""
SCHEMES = ("redis", "rediss", "unix", *SENTINELS)
SENTINEL_PORT = 26379
SENTINEL_SECONDS = 1.0
"""How long one Sentinel may take to answer; the next one is asked then."""


class BadAddress(ValueError):
    """The URL leads to no Redis. The text says why and quotes nothing of it: it may hold a password."""


@dataclass(frozen=True)
class Watched:
    """A master that Sentinels watch; `options` are of connections to it, `sentinel_options` of those to them."""

    name: str
    sentinels: tuple[tuple[str, int], ...]
    options: dict[str, Any]
    sentinel_options: dict[str, Any]
    secure: bool


class AsksAgain(SentinelManagedConnection):
    """Asks the Sentinels whenever it connects.

    redis-py's own does not while a command is tried again: it goes back to the address that it had, and so a patient
    client would not find the new master before its patience ends.
    """

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send to the master of now."""
        if not self._sock:
            self.connect()
        super().send_packed_command(command, check_health)


class MasterConnection(AsksAgain):
    """To a master, in the clear."""


class SecureMasterConnection(AsksAgain, SentinelManagedSSLConnection):
    """To a master, by TLS."""


def check(url: str) -> None:
    """Raise BadAddress where `connect` could not be used with this URL. Nothing is connected to."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise BadAddress(f"not a URL of Redis; it begins with {', '.join(f'{each}://' for each in SCHEMES)}")
    if "#" in url:
        raise BadAddress("it has a #; in a user, a password or a path, write %23 for it")
    if scheme not in SENTINELS:
        _check_parts(_parts(url))
    try:
        with connect(url) as redis:
            pool = redis.connection_pool
            pool.make_connection()
    except BadAddress:
        raise
    except (TypeError, ValueError, RedisError):
        raise BadAddress("an option after its ? is unknown, or has a value that it cannot have") from None
    if pool.get_encoder().decode_responses:
        raise BadAddress("the option decode_responses cannot be used here; leave it out")


def connect(url: str, *, most: int | None = None, **options: Any) -> Redis:
    """A client, with these options of its connections.

    most: connections at a time; who finds none free waits for one as long as for an answer. To a master that Sentinels
    watch there are as many as are asked for at a time.
    """
    watched = _watched(url)
    if watched is not None:
        sentinel = Sentinel(watched.sentinels, sentinel_kwargs=_of_sentinels(watched, Retry(NoBackoff(), 0)))
        kind = SecureMasterConnection if watched.secure else MasterConnection
        return sentinel.master_for(watched.name, connection_class=kind, **{**options, **watched.options})
    if most is None:
        return Redis.from_url(url, **options)
    return Redis.from_pool(
        BlockingConnectionPool.from_url(url, max_connections=most, timeout=options.get("socket_timeout"), **options)
    )


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncRedis]:
    """The same for asyncio, while the block runs."""
    watched = _watched(url)
    if watched is None:
        async with AsyncRedis.from_url(url) as redis:
            yield redis
        return
    sentinel = AsyncSentinel(watched.sentinels, sentinel_kwargs=_of_sentinels(watched, AsyncRetry(NoBackoff(), 0)))
    try:
        async with sentinel.master_for(watched.name, ssl=watched.secure, **watched.options) as redis:
            yield redis
    finally:
        for each in sentinel.sentinels:
            await each.aclose()


def _of_sentinels(watched: Watched, retry: Any) -> dict[str, Any]:
    """Options of the connections to Sentinels: where one is silent another is asked, not the same again."""
    patience = {"socket_timeout": SENTINEL_SECONDS, "socket_connect_timeout": SENTINEL_SECONDS, "retry": retry}
    return {"ssl": watched.secure, **patience, **watched.sentinel_options}


def _watched(url: str) -> Watched | None:
    """The master and the Sentinels that a URL names; None where it names a server. Raises BadAddress."""
    scheme = url.partition("://")[0]
    if scheme not in SENTINELS:
        return None
    parts = _parts(url)
    user, at, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.removeprefix("/").partition("/")
    if not name:
        raise BadAddress("the name of the master that the Sentinels watch is missing: redis+sentinel://host/name")
    own = parts._replace(scheme="redis", netloc=f"{user}{at}host", path=f"/{database}")
    _check_parts(own)
    options = {kind: value for kind, value in parse_url(own.geturl()).items() if kind != "host"}
    if "ssl" in options:
        raise BadAddress("TLS is asked for by rediss+sentinel://, not by the option ssl")
    of_sentinels = {kind for kind in options if kind.startswith("sentinel_")}
    return Watched(
        unquote(name),
        tuple(_host_and_port(host) for host in hosts.split(",")),
        {kind: value for kind, value in options.items() if kind not in of_sentinels},
        {kind.removeprefix("sentinel_"): options[kind] for kind in of_sentinels},
        SENTINELS[scheme],
    )


def _host_and_port(text: str) -> tuple[str, int]:
    parts = _parts(f"//{text}")
    if not parts.hostname:
        raise BadAddress("a Sentinel's host is missing: redis+sentinel://host:26379,host:26379/name")
    return parts.hostname, _port(parts) or SENTINEL_PORT


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise BadAddress("its host is no name and no address") from None


def _check_parts(parts: SplitResult) -> None:
    """Refuse what redis-py would pass over, or complain of in words of the URL's own."""
    if any("=" not in option for option in parts.query.split("&") if parts.query):
        raise BadAddress("an option after its ? has no value; in a password, write %3F for ?")
    if parts.scheme == "unix":
        if parts.netloc.rpartition("@")[2] or not parts.path.strip("/"):
            raise BadAddress("the path of the socket is missing; it is absolute, as in unix:///run/redis.sock")
        return
    _port(parts)
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdecimal()):
        raise BadAddress("its database, after the last /, is no number")


def _port(parts: SplitResult) -> int | None:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise BadAddress(
            "its port is no number from 1 to 65535; in a password, write %2F for /, %3A for :, %40 for @, %3F for ?"
        )
    return port
