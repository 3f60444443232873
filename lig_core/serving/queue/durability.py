"""The promise that Redis keeps to jobs that were accepted, by its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from redis import Redis
from redis.exceptions import ResponseError

from lig_core.errors import LigError
from lig_core.serving.queue import names

Promise = Literal["always", "last_second", "process", "none"]

MEANING: dict[Promise, str] = {
    "always": "an accepted job survives a crash of Redis and of its machine (appendfsync always)",
    "last_second": "an accepted job survives a crash of Redis; one of its machine may lose the last second or two "
    "(appendfsync everysec)",
    "process": "an accepted job survives a crash of Redis; one of its machine may lose what the system had not "
    "written out, and how often Redis asks for that is off or unknown",
    "none": "a restart of Redis loses jobs, for it keeps no append-only file (appendonly no)",
}
HARMLESS_POLICY = "noeviction"
UNSUPPORTED: dict[str, str] = {
    "cluster": "this Redis is a cluster, on which what belongs to one job may lie on several servers; use one with "
    "cluster-enabled no, with replicas and Sentinels where it must not fail",
    "sentinel": "this is a Sentinel, which keeps no jobs; write redis+sentinel://host:26379/name-of-the-master",
}
"""Kinds of server that jobs cannot be kept on, and what to do."""


class UnfitRedis(LigError):
    """Jobs cannot be kept in this Redis as promised."""

    code = "unfit_redis"
    title = "Jobs cannot be kept in this Redis"


class EvictingRedis(UnfitRedis):
    """Redis may drop jobs or results when its memory runs out."""

    code = "evicting_redis"
    title = "Redis may drop jobs"


@dataclass(frozen=True)
class Durability:
    """The settings that matter, and what follows from them."""

    server: str
    promise: Promise
    eviction: str
    kind: str = "standalone"

    @property
    def meaning(self) -> str:
        """The promise in words, as `/readyz` tells it."""
        return MEANING[self.promise]

    def require_fit(self, *, allow_eviction: bool) -> None:
        """Raise UnfitRedis of a cluster or a Sentinel, and EvictingRedis where memory running out may cost jobs."""
        if self.kind in UNSUPPORTED:
            raise UnfitRedis(UNSUPPORTED[self.kind])
        if self.eviction != HARMLESS_POLICY and not allow_eviction:
            raise EvictingRedis(
                f"Redis has maxmemory-policy {self.eviction}: short of memory, it drops jobs or results that were "
                "promised. Set it to noeviction, or accept that with LIG_ALLOW_EVICTION=true"
            )


def read_durability(redis: Redis) -> Durability:
    """Ask the server, which is one that takes writes: raises RedisError where it does not, unless it is UNSUPPORTED."""
    info: Any = redis.info()
    kind = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info["redis_version"]
    mode = "cluster" if info.get("cluster_enabled") else str(info.get("redis_mode") or info.get("server_mode"))
    if mode not in UNSUPPORTED:
        redis.setrange(names.PROBE, 0, "")
    return Durability(
        server=f"{kind} {version}",
        promise=_promise(bool(info.get("aof_enabled")), _fsync(redis)),
        eviction=str(info.get("maxmemory_policy", "unknown")),
        kind=mode,
    )


def _promise(append_only: bool, fsync: str) -> Promise:
    if not append_only:
        return "none"
    known: dict[str, Promise] = {"always": "always", "everysec": "last_second"}
    return known.get(fsync, "process")


def _fsync(redis: Redis) -> str:
    try:
        settings: Any = redis.config_get("appendfsync")
    except ResponseError:  # hosted servers often forbid CONFIG
        return "unknown"
    return str(settings.get("appendfsync", "unknown"))
