"""The faults of a Redis that does not do what it was asked: of the server as a whole, or of what lies in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError


class RedisFault(Enum):
    """Why Redis cannot be used, in words for whoever runs the service. All but `DAMAGED` pass by themselves, or when
    somebody sees to the server: no fault of any job."""

    AWAY = "Redis does not answer; nothing was lost"
    LOADING = "Redis is still loading its data"
    FULL = "Redis is full (maxmemory is reached): raise maxmemory, or wait until results expire"
    READ_ONLY = "Redis is read-only, as a replica is: make it the master, or point LIG_REDIS_URL at the one that is"
    DISK = "Redis cannot write to its disk, so it takes no writes: free space there"
    FEW_REPLICAS = "Redis has fewer replicas than min-replicas-to-write asks for, so it takes no writes"
    CROWDED = "Redis takes no more clients: raise maxclients"
    REFUSING = "Redis refuses this client: check the user, the password and the protected mode of LIG_REDIS_URL"
    BUSY = "Redis is busy with a script"
    OTHER = "Redis refused a command"
    DAMAGED = "something in Redis under a name of this service is not of this service"


FAULT_OF_CODE = {
    "OOM": RedisFault.FULL,
    "READONLY": RedisFault.READ_ONLY,
    "MASTERDOWN": RedisFault.READ_ONLY,
    "MISCONF": RedisFault.DISK,
    "NOREPLICAS": RedisFault.FEW_REPLICAS,
    "LOADING": RedisFault.LOADING,
    "BUSY": RedisFault.BUSY,
    "DENIED": RedisFault.REFUSING,
    "NOAUTH": RedisFault.REFUSING,
    "WRONGPASS": RedisFault.REFUSING,
    "NOPERM": RedisFault.REFUSING,
    "EXECABORT": RedisFault.OTHER,
}
"""By what the server's words begin with; before 7.0 they come after those of the script that met them."""

FAULT_OF_KIND: Mapping[type[RedisError], RedisFault] = {
    BusyLoadingError: RedisFault.LOADING,
    AuthenticationError: RedisFault.REFUSING,
    AuthorizationError: RedisFault.REFUSING,
    RedisConnectionError: RedisFault.AWAY,
    RedisTimeoutError: RedisFault.AWAY,
}
"""Of errors without such words; the first three are connection errors to redis-py as well."""

_CODE = re.compile(rf"(?:^|[-:] ?)({'|'.join(FAULT_OF_CODE)})\b")


def fault_of(error: RedisError) -> RedisFault:
    """The fault behind an error of redis-py."""
    said = " ".join(filter(None, (getattr(error, "status_code", None), str(error))))
    if code := _CODE.search(said):
        return FAULT_OF_CODE[code[1]]
    if "max number of clients" in said:
        return RedisFault.CROWDED
    if isinstance(error, ResponseError) and ("WRONGTYPE" in said or "user_script" in said):
        return RedisFault.DAMAGED
    return next((fault for kind, fault in FAULT_OF_KIND.items() if isinstance(error, kind)), RedisFault.OTHER)


def queue_damaged(error: RedisError) -> bool:
    """True of a script that changed nothing, for a key of the queue is of another type: see `upkeep.set_aside`."""
    return "WRONGTYPE of the queue" in str(error)


def damaged(error: RedisError) -> bool:
    """True where the key of the command is at fault, so that waiting would not help."""
    return fault_of(error) is RedisFault.DAMAGED
