"""How a job can fail apart from its own errors, and why one is not accepted."""

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


class JobDamaged(LigError):
    """The job as Redis holds it is not the one that this service put there."""

    code = "job_damaged"
    title = "What is stored of the job is damaged"


class QueueFull(LigError):
    """More work waits than the service takes on; `retry_after` says when there will be room."""

    code = "queue_full"
    title = "The queue is full"
    retryable = True


class QuotaExceeded(LigError):
    """The owner has more unfinished jobs, or asks for more work, than it may; `retry_after` says when to come back."""

    code = "quota_exceeded"
    title = "Too much at once for this key"
    retryable = True


class IdempotencyMismatch(LigError):
    """The idempotency key was used before, with another body."""

    code = "idempotency_mismatch"
    title = "The idempotency key was used for another request"
