"""What a job does."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rq.job import Job, get_current_job
from rq.timeouts import JobTimeoutException

from lig_core.catalog import check_against_model, find_model
from lig_core.contract import Progress, parse_request
from lig_core.errors import LigError
from worker.engine import Engine, Report
from worker.model_pool import ModelPool
from worker.progress import ProgressReport
from worker.queue_worker import JobFailed
from worker.results import write_result

RUN_EXPLAIN = "worker.tasks.run_explain"
"""The name under which the API queues an explanation."""

log = logging.getLogger(__name__)


class JobTimedOut(LigError):
    """The job ran longer than a job may."""

    code = "job_timed_out"
    title = "The job took too long"


@dataclass(frozen=True)
class Explainer:
    """Runs explanations with the models of one process."""

    engine: Engine
    pool: ModelPool
    models_folder: Path | None

    def run_explain(self, request: dict[str, Any]) -> dict[str, Any]:
        """Explain, store the result, and return a pointer to it.

        What went wrong is written into the job for the API to show, then JobFailed is raised.
        """
        job = get_current_job()
        if job is None:
            raise RuntimeError("run_explain works inside a job only")
        try:
            return self._explain(request, job)
        except Exception as error:
            job.meta["error"] = _told(error, job).as_dict()
            job.save_meta()
            # The code alone: RQ stores what is raised, and a message may hold the text or paths of this machine.
            raise JobFailed(job.meta["error"]["code"]) from None

    def _explain(self, data: dict[str, Any], job: Job) -> dict[str, Any]:
        report: Report = ProgressReport(job)
        request = parse_request(data)
        card = find_model(request.model, self.models_folder)
        check_against_model(request, card)
        report(Progress(phase="loading", done=0, total=1, unit="models"))
        model = self.pool.get(card, request.dtype)
        result = self.engine.run(request, model, report)
        report(Progress(phase="storing", done=0, total=1, unit="results"))
        pointer = write_result(job, result)
        report(Progress(phase="done", done=1, total=1, unit="results"))
        return pointer.as_dict()


def _told(error: Exception, job: Job) -> LigError:
    """The error as the caller may see it; what is not meant for the caller goes to this process's log."""
    if isinstance(error, LigError):
        return error
    if isinstance(error, JobTimeoutException):
        return JobTimedOut(f"stopped after {job.timeout} s; ask for fewer layers, targets or maps, or a shorter text")
    log.exception("job %s failed", job.id, exc_info=error)
    return LigError(f"an unexpected fault; the worker's log has the details under job {job.id}")
