"""Says how far a job has come, where the API can see it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from lig_core.contract import Progress

SHORTEST_INTERVAL_SECONDS = 0.2
PUT_OFF_SECONDS = 5.0
"""How long nothing is written after a fault of Redis: each try may take as long as it is waited for."""

log = logging.getLogger(__name__)


class ProgressReport:
    """Writes progress: at once for a new phase, else at most five times a second."""

    def __init__(self, write: Callable[[str], bool]) -> None:
        self._write = write
        self._phase = ""
        self._written_at = self._put_off_until = 0.0

    def __call__(self, progress: Progress) -> None:
        """Note the progress. Never fails: an explanation does not stop because Redis was away for a moment."""
        now = time.monotonic()
        if progress.phase == self._phase and now - self._written_at < SHORTEST_INTERVAL_SECONDS:
            return
        if now < self._put_off_until:
            return
        self._phase, self._written_at = progress.phase, now
        try:
            self._write(progress.model_dump_json())
        except RedisError as error:
            log.warning("progress not written: %s", error)
            self._put_off_until = time.monotonic() + PUT_OFF_SECONDS
