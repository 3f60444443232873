"""What a job does, in the process that holds the models."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from lig_core.catalog import check_against_model, find_model
from lig_core.contract import Progress, parse_request
from lig_core.errors import LigError
from lig_core.queue.moves import Run
from lig_core.queue.names import result_key
from worker.engine import Engine, Report, ShouldStop
from worker.model_pool import ModelPool

UNCLAIMED_SECONDS = 600
"""How long a result is kept that no job points at: its attempt has that long to win."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explainer:
    """Runs explanations with the models of one process."""

    engine: Engine
    pool: ModelPool
    models_folder: Path | None
    redis: Redis

    def explain(self, run: Run, data: Mapping[str, Any], report: Report, should_stop: ShouldStop) -> dict[str, Any]:
        """Explain, store the result under the attempt's own key, and return a pointer to it."""
        request = parse_request(data)
        card = find_model(request.model, self.models_folder)
        check_against_model(request, card)
        report(Progress(phase="loading", done=0, total=1, unit="models"))
        model = self.pool.get(card, request.dtype)
        result = self.engine.run(request, model, report, should_stop)
        report(Progress(phase="storing", done=0, total=1, unit="results"))
        pointer = self.store(run, result)
        report(Progress(phase="done", done=1, total=1, unit="results"))
        return pointer

    def store(self, run: Run, plain: bytes) -> dict[str, Any]:
        """Write a result, given as JSON; `size` and `stored_size` are bytes before and after compression."""
        # gzip, because a browser or curl can be sent the stored bytes as they are; level 1 is as good on digits.
        stored = gzip.compress(plain, compresslevel=1, mtime=0)
        ref = result_key(run.job.id, run.execution)
        self.redis.set(ref, stored, ex=UNCLAIMED_SECONDS)
        return {"ref": ref, "size": len(plain), "stored_size": len(stored), "codec": "gzip"}


def told(error: Exception, job_id: str) -> dict[str, Any]:
    """The error as the caller may see it; what is not meant for the caller goes to this process's log."""
    if isinstance(error, LigError):
        log.warning("job %s failed: %s", job_id, error.code)
        return error.as_dict()
    log.exception("job %s failed", job_id, exc_info=error)
    return LigError(f"an unexpected fault; the worker's log has the details under job {job_id}").as_dict()
