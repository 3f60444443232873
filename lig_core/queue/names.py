"""Names of what lies in Redis. Jobs, queues and registries are RQ's; what is added to them is here."""

from __future__ import annotations

TASK = "lig.explain"
"""What every job names. A label only: nothing is ever imported or called by a name that Redis holds."""

LANES = ("interactive", "bulk")
"""Priorities, the first first; each is a queue of its own."""

PROGRESS = "progress"
ERROR = "error"
POINTER = "pointer"
ATTEMPTS = "attempts"
CANCEL = "cancel_requested"
FORGET = "forget"
"""Fields added to RQ's hash of a job; values are JSON, numbers, or 1."""

HOLDS = "holds"
"""Added to RQ's hash of a worker: the models in its memory and the bytes used, as JSON."""

START_BY = "start_by"
END_BY = "end_by"
"""Deadlines in a job's meta, in seconds since the epoch by the Redis server's clock."""

RESULT_PREFIX = "lig:result:"
CHANNEL_PREFIX = "lig:job:"


def lane_name(queue: str, priority: str) -> str:
    """The RQ queue of a priority; the first lane has the plain name."""
    return queue if priority == LANES[0] else f"{queue}-{priority}"


def registry(kind: str, lane: str) -> str:
    """RQ's sorted sets of a queue's jobs: `wip` by end of lease; `finished`, `failed`, `canceled` by expiry."""
    return f"rq:{kind}:{lane}"


def waiting(lane: str) -> str:
    """RQ's list of the jobs that wait in a queue."""
    return f"rq:queue:{lane}"


def popped(lane: str) -> str:
    """RQ's list of the jobs that were taken off a queue and not yet started."""
    return f"rq:queue:{lane}:intermediate"


def channel(job_id: str) -> str:
    """The channel on which every change of a job is told."""
    return CHANNEL_PREFIX + job_id


def result_key(job_id: str, execution: str) -> str:
    """Where one attempt writes its result; readers follow the pointer of the attempt that won."""
    return f"{RESULT_PREFIX}{job_id}:{execution}"


def dead_key(lane: str) -> str:
    """The jobs that ended because their worker died too often, by expiry."""
    return f"lig:dead:{lane}"


def popped_key(job_id: str) -> str:
    """Marks a job seen between a queue and its start; it is given back if it stays there."""
    return f"lig:popped:{job_id}"
