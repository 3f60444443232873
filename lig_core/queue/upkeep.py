"""Gives back what dead workers held, and forgets what expired. Any worker may do it, several at once too."""

from __future__ import annotations

import logging
from typing import Any

from redis import Redis
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus

from lig_core.queue import names
from lig_core.queue.fence import Listed, Scored, server_time
from lig_core.queue.moves import Moves

POPPED_GRACE_SECONDS = 10.0
"""How long a job may be between a queue and its start; longer, and the worker that popped it must have died."""

ENDED = frozenset({JobStatus.FINISHED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.STOPPED})

log = logging.getLogger(__name__)


def tidy(redis: Redis, lane: str) -> None:
    """One round for one lane."""
    time = server_time(redis)
    take_over(redis, lane, time)
    give_back_popped(redis, lane, time)
    for kind in ("finished", "failed", "canceled"):
        redis.zremrangebyscore(names.registry(kind, lane), 0, time)
    redis.zremrangebyscore(names.dead_key(lane), 0, time)


def take_over(redis: Redis, lane: str, time: float) -> None:
    """Run again, or give up, the jobs whose lease ended."""
    moves, leases = Moves(redis), names.registry("wip", lane)
    expired: Any = redis.zrangebyscore(leases, 0, time)
    for raw in expired:
        member = raw.decode()
        job_id, _, _ = member.partition(":")
        job = _fetch(redis, job_id)
        if job is None or job.get_status(refresh=False) in ENDED:
            redis.zrem(leases, member)
        elif moves.crashed(Scored(leases, member, latest=time), job):
            log.warning("job %s: its worker gave no sign of life, so the job was taken over", job_id)


def give_back_popped(redis: Redis, lane: str, time: float) -> None:
    """Queue again the jobs that a worker popped and did not start."""
    moves, popped = Moves(redis), names.popped(lane)
    waiting: Any = redis.lrange(popped, 0, -1)
    for raw in waiting:
        job_id = raw.decode()
        job = _fetch(redis, job_id)
        if job is None:
            redis.lrem(popped, 1, job_id)
            continue
        mark = names.popped_key(job_id)
        redis.set(mark, time, nx=True, ex=3600)
        seen = redis.get(mark)
        stuck = seen is not None and time - float(seen) > POPPED_GRACE_SECONDS
        if stuck and moves.give_back(Listed(popped, job_id), job):
            log.warning("job %s: popped and never started, so it was queued again", job_id)


def _fetch(redis: Redis, job_id: str) -> Job | None:
    try:
        return Job.fetch(job_id, connection=redis, serializer="json")
    except NoSuchJobError:
        return None
