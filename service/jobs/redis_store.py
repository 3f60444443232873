"""The job store on Redis. In the service, `redis_rows` and `overview` beside it know how jobs lie there.

What is queued is JSON and names its task by a string: nothing that Redis holds is ever unpickled.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any

import orjson
import zstandard
from redis.exceptions import RedisError
from typing_extensions import override

from lig_core.serving.queue import blobs, names
from lig_core.serving.queue.counters import Outcome
from lig_core.serving.queue.durability import Durability, read_durability
from lig_core.serving.queue.job_errors import IdempotencyMismatch, JobDamaged
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.redis_faults import damaged
from lig_core.serving.queue.scripts import Scripts
from lig_core.serving.queue.upkeep import keys_of_owner, keys_of_queue, set_aside
from service.http.errors import JobEnded, JobExpired, JobNotFound, ResultExpired
from service.jobs import queue_state
from service.jobs.job import (
    Accepted,
    Claim,
    EventPage,
    Job,
    JobStatus,
    JobStore,
    Limits,
    Load,
    Page,
    StoredPart,
    Submission,
)
from service.jobs.queue_state import QueueState
from service.jobs.redis import JobChanges, JobWatch, connect, reachable
from service.jobs.redis_rows import Row, as_argument, as_cursor, as_events, as_job, from_cursor, refusal, rows_of
from service.settings import Settings

log = logging.getLogger(__name__)

LOOKED_AT_ONCE, MOST_LOOKED_AT = 100, 1000
"""Jobs read at a time where only those of one status are listed; jobs read for one page of any list."""


class RqJobStore(JobStore):
    """Jobs over computations that are RQ jobs, in one fair queue."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self._settings = settings
        self._redis = connect(redis_url, settings)
        self._scripts = Scripts(self._redis, settings.queue)
        self._changes = JobChanges(redis_url, settings.queue)
        self._known_to_be_fit = False

    @override
    def submit(
        self,
        owner: str,
        submissions: Sequence[Submission],
        *,
        limits: Limits,
        idempotency: tuple[str, str] | None = None,
        group: bool = False,
    ) -> Accepted:
        if not self._known_to_be_fit:  # the process may have started before Redis did
            self.durability()
        settings, replay = self._settings, None
        if idempotency is not None:
            key = hashlib.sha256(idempotency[0].encode()).hexdigest()
            replay = {"key": key, "body": idempotency[1], "ttl": settings.idempotency_ttl}

        def admit() -> Any:
            return self._scripts.call(
                "job/admit",
                owner=owner,
                submissions=[as_argument(owner, submission, settings) for submission in submissions],
                concurrency=limits.concurrency,
                rate=limits.rate,
                burst=limits.burst,
                max_backlog=settings.max_backlog,
                queue_timeout=settings.queue_timeout or None,
                total_timeout=settings.total_timeout or None,
                idempotency=replay,
                group=uuid.uuid4().hex if group else None,
            )

        outcome, *rest = self._ask(admit, owner)
        if outcome == b"mismatch":
            raise IdempotencyMismatch("this Idempotency-Key was sent with another body before; send a new key")
        if outcome == b"refused":
            gate, seconds = rest
            raise refusal(gate.decode(), float(seconds), len(submissions), limits)
        group_id, job_ids, looked = rest
        jobs = [as_job(*row) for row in rows_of((job_id.decode() for job_id in job_ids), looked)]
        return Accepted(tuple(jobs), outcome == b"replayed", group_id.decode() or None)

    @override
    def get(self, owner: str | None, job_id: str) -> Job:
        ((_, own, shared, position),) = self._look([job_id])
        if not own or (owner is not None and own.get(Field.OWNER) != owner):
            raise self._not_found(job_id)
        if not shared:
            raise JobExpired("the job ended long ago and its result is no longer kept; send the request again")
        return as_job(job_id, own, shared, position)

    @override
    def list(
        self,
        owner: str,
        *,
        limit: int,
        cursor: str | None = None,
        group: str | None = None,
        status: JobStatus | None = None,
    ) -> Page:
        key = self._key("jobs", owner) if group is None else self._key("group", f"{owner}:{group}")
        at: tuple[float, str] | None = from_cursor(cursor) if cursor is not None else None
        jobs: builtins.list[Job] = []
        looked_at, some = 0, limit + 2 if status is None else LOOKED_AT_ONCE
        while True:
            newest = at[0] if at else "+inf"
            members = self._ask(
                partial(self._redis.zrevrangebyscore, key, newest, "-inf", start=0, num=some, withscores=True), owner
            )
            rows = [(score, raw.decode(errors="replace")) for raw, score in members]
            new = [row for row in rows if at is None or row < at]
            there = {job.id: job for job in self.find([job_id for _, job_id in new])}
            for row in new:
                if len(jobs) == limit or looked_at == MOST_LOOKED_AT:
                    return Page(tuple(jobs), as_cursor(at))
                at, looked_at = row, looked_at + 1
                job = there.get(row[1])
                if job is not None and status in (None, job.status):
                    jobs.append(job)
            if not new:
                return Page(tuple(jobs), None)

    @override
    def cancel(self, owner: str | None, job_id: str) -> Job:
        self.get(owner, job_id)
        was = self._call("job/detach", job=job_id, forget=False).decode()
        if was in ("finished", "failed"):
            status = "succeeded" if was == "finished" else was
            raise JobEnded(f"the job has {status} already; there is nothing to cancel")
        return self.get(owner, job_id)

    @override
    def delete(self, owner: str | None, job_id: str) -> None:
        with contextlib.suppress(JobExpired, JobDamaged):
            self.get(owner, job_id)
        self._call("job/detach", job=job_id, forget=True)

    @override
    def retry(self, job_id: str) -> Job:
        self.get(None, job_id)
        was = self._call("job/revive", job=job_id, retries=self._settings.crash_retries).decode()
        if was == "stopping":
            raise JobEnded("the job is still being stopped; try again in a moment")
        if was != "again":
            raise JobEnded("only a failed or cancelled job can be sent again")
        return self.get(None, job_id)

    @override
    def read_head(self, job: Job) -> dict[str, Any]:
        with _sound_parts(job):
            head: dict[str, Any] = orjson.loads(self._read_parts(job.head)[0])
        return head

    @override
    def read_layer(self, job: Job, index: int) -> bytes:
        with _sound_parts(job):
            return self._read_parts(next((layer for layer in job.layers if layer.index == index), None))[0]

    @override
    def read_whole(self, job: Job) -> tuple[dict[str, Any], builtins.list[bytes]]:
        with _sound_parts(job):
            head, *layers = self._read_parts(job.head, *job.layers)
            return orjson.loads(head), layers

    @override
    def read_events(self, computation: str, after: str | None, count: int, jobs: Sequence[str] = ()) -> EventPage:
        with reachable(), self._redis.pipeline(transaction=False) as pipe:
            pipe.xrange(self._key("events", computation), f"({after}" if after else "-", "+", count)
            pipe.hget(self._key("computation", computation), Field.PROGRESS_FORGOTTEN)
            for job in jobs:  # after the events: what was read before a job's end concerns it
                pipe.hmget(self._key("job", job), Field.OWNER, Field.CANCELLED_AFTER)
            entries, forgotten, *rows = pipe.execute()
        about = dict(zip(jobs, rows, strict=True))
        return EventPage(
            tuple(as_events(entries)),
            forgotten.decode() if forgotten else None,
            {job: last.decode() for job, (_, last) in about.items() if last},
            frozenset(job for job, (owner, _) in about.items() if not owner),
        )

    @override
    def watch(self, job: Job, *, end: bool = False) -> AbstractContextManager[JobWatch]:
        return self._changes.watch(job.computation, end=end)

    @override
    def running(self) -> AbstractAsyncContextManager[None]:
        return self._changes.listening()

    @override
    def claim_webhooks(self, limit: int, lease: float) -> builtins.list[Claim]:
        claims = self._call("webhook/claim", limit=limit, lease=lease)
        return [Claim(job.decode(errors="replace"), end.decode(), int(attempt)) for job, end, attempt in claims]

    @override
    def settle_webhook(self, claim: Claim, outcome: Outcome, again: float | None = None) -> bool:
        held = {"job": claim.job, "lease_end": claim.lease_end}
        return bool(self._call("webhook/settle_claim", **held, outcome=outcome, again=again))

    def state(self) -> QueueState:
        """All numbers there are of the queue, the jobs and the workers."""
        return self._ask(lambda: queue_state.read(self._redis, self._settings.queue, self._settings.max_backlog))

    @override
    def load(self) -> Load:
        state = self.state()
        return Load(state.sizes["waiting"], state.backlog, state.limit, len(state.workers), state.rate)

    @override
    def models(self) -> Mapping[str, str]:
        models = self._ask(lambda: self._redis.hgetall(self._key("models")))
        texts = ((name.decode(errors="replace"), text.decode(errors="replace")) for name, text in models.items())
        return dict(texts)

    @override
    def durability(self) -> Durability:
        with reachable():
            durability = read_durability(self._redis)
        durability.require_fit(allow_eviction=self._settings.allow_eviction)
        self._known_to_be_fit = True
        return durability

    def find(self, job_ids: Sequence[str]) -> builtins.list[Job]:
        """Those of these jobs that are there, whoever owns them."""
        return list(self._sound(row for row in self._look(job_ids) if row[2]))

    def _sound(self, rows: Iterable[Row]) -> Iterator[Job]:
        """The jobs, but for those that cannot be read."""
        for row in rows:
            try:
                yield as_job(*row)
            except JobDamaged as error:
                log.warning("%s (%r)", error.detail, error.__cause__)

    def _call(self, script: str, **script_arguments: Any) -> Any:
        return self._ask(partial(self._scripts.call, script, **script_arguments))

    def _ask(self, call: Callable[[], Any], owner: str | None = None) -> Any:
        """The answer to a call, made once more where alien keys were in its way: of the queue, or of this owner."""
        with reachable():
            try:
                return call()
            except RedisError as error:
                if not damaged(error):
                    raise
            queue = self._settings.queue
            keys = {**keys_of_queue(queue), **(keys_of_owner(queue, owner) if owner is not None else {})}
            set_aside(self._redis, queue, keys)  # unless somebody else just did
            return call()

    def _key(self, kind: str, name: str | None = None) -> str:
        return names.key(kind, self._settings.queue, name)

    def _look(self, job_ids: Sequence[str]) -> Iterator[Row]:
        if not job_ids:
            return iter(())
        return rows_of(job_ids, self._call("job/look", jobs=list(job_ids)))

    def _read_parts(self, *parts: StoredPart | None) -> builtins.list[bytes]:
        refs = [part.ref for part in parts if part is not None]
        with reachable():
            found = [plain for plain in blobs.read(self._redis, refs) if plain is not None] if refs else []
        if len(found) < len(parts):
            raise ResultExpired("the result is no longer kept; send the request again")
        return found

    def _not_found(self, job_id: str) -> JobNotFound:
        kept = max(self._settings.result_ttl, self._settings.failure_ttl) + self._settings.expired_ttl
        return JobNotFound(
            f"no job '{job_id[:80]}' here; it never was, or it ended more than {kept} s ago: send the request again"
        )


@contextlib.contextmanager
def _sound_parts(job: Job) -> Iterator[None]:
    try:
        yield
    except (zstandard.ZstdError, orjson.JSONDecodeError) as error:
        raise JobDamaged(
            f"the result of job '{job.id}' cannot be read; delete it and send the request again"
        ) from error
