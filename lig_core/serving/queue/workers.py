"""The workers that are alive. Each has a hash, laid out as RQ does it, that expires unless the worker renews it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, replace
from typing import Any

from redis import Redis

from lig_core.serving.queue import names
from lig_core.serving.queue.names import Field


@dataclass(frozen=True)
class Worker:
    """A worker as it described itself last; sizes are bytes, `device` is None without a GPU."""

    name: str
    host: str
    pid: int
    state: str
    models: tuple[dict[str, Any], ...] = ()
    resident: int | None = None
    device: int | None = None


def live_workers(redis: Redis, queue: str) -> tuple[Worker, ...]:
    """A queue's workers, by name; none is RQ's own, which hold no models.

    The scripts count them by themselves, for they cannot ask anybody: common.lua.
    """
    registered: Any = redis.smembers(names.key("workers", queue))
    keys = sorted(registered)
    with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hmget(key, Field.PID, Field.HOSTNAME, Field.STATE, Field.HOLDS)
        rows = pipe.execute(raise_on_error=False)  # what is no worker's may be anything
    return tuple(
        _worker(key, *row) for key, row in zip(keys, rows, strict=True) if isinstance(row, list) and row[-1] is not None
    )


def _worker(key: bytes, pid: bytes | None, host: bytes | None, state: bytes | None, holds: bytes) -> Worker:
    name = _text(key).rpartition(":")[2]
    worker = Worker(name, _text(host), int(pid) if pid and pid.isdigit() else 0, _text(state) or "started")
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        held = json.loads(holds)
        models = [{"model": m["model"], "dtype": m["dtype"], "bytes": int(m["bytes"])} for m in held.get("models", ())]
        return replace(worker, models=tuple(models), resident=held.get("resident"), device=held.get("device"))
    return worker  # nothing of what it holds where that cannot be read


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode(errors="replace")
