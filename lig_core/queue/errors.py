"""How a job can fail apart from its own errors."""

from __future__ import annotations

from lig_core.errors import LigError


class Crashed(LigError):
    """The process that computed the job died each time; the job is kept as a dead letter."""

    code = "crashed"
    title = "The process computing the job died"


class JobTimedOut(LigError):
    """The job waited or ran longer than a job may."""

    code = "job_timed_out"
    title = "The job took too long"
