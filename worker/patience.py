"""Patience while Redis cannot be used: a worker says so, waits, and tries again, however long that takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

from lig_core.serving.queue.redis_faults import damaged, fault_of

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 2.0
LOOK_SECONDS = 0.1

log = logging.getLogger(__name__)

T = TypeVar("T")


def patiently(do: Callable[[], T], go_on: Callable[[], bool]) -> T:
    """The value that `do` returns, once Redis can be used for it; `do` must be such that it may be done twice.

    Raises the RedisError where waiting would not help, and where `go_on`, asked between the tries, says no.
    """
    pause = SHORTEST_PAUSE_SECONDS
    while True:
        try:
            return do()
        except RedisError as error:
            if damaged(error):
                raise
            complain(error)
            until = time.monotonic() + pause
            while time.monotonic() < until:
                if not go_on():
                    raise
                time.sleep(LOOK_SECONDS)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def complain(error: RedisError) -> None:
    """One line: what is wrong, and Redis's own words for it."""
    log.warning("%s; trying again (%s: %s)", fault_of(error).value, type(error).__name__, error)
