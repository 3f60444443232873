"""The API over a job store in memory."""

import contextlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import orjson
import pytest
from fastapi.testclient import TestClient

from lig_core.contract import Progress
from lig_core.errors import LigError
from lig_core.serving.queue.durability import Durability
from service.app import create_app
from service.events.ids import later
from service.http.errors import JobEnded, JobNotFound
from service.jobs.job import Accepted, EventPage, Job, JobStatus, Load, Page, StoredLayer, StoredPart
from service.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class NoChanges:
    def notify(self):
        pass

    async def changed(self, seconds):
        return None


@dataclass
class MemoryJobs:
    jobs: dict[str, Job] = field(default_factory=dict)
    submissions: list = field(default_factory=list)
    parts: dict[str, bytes] = field(default_factory=dict)
    events: list = field(default_factory=list)  # of any job
    workers: int = 1
    rate: float | None = None
    failure: LigError | None = None
    read: int = 0
    replayed: bool = False  # what the next submission is told to be
    stored: bool = False  # and whether its result is there already
    asked: dict = field(default_factory=dict)
    held: dict = field(default_factory=dict)  # models that workers have

    def submit(self, owner, submissions, *, limits, idempotency=None, group=False):
        if self.failure:
            raise self.failure
        self.submissions += submissions
        self.asked = {"owner": owner, "limits": limits, "idempotency": idempotency}
        jobs = [self.add(owner, submission) for submission in submissions]
        if self.stored:
            for job in jobs:
                self.finish(job.id, {"text": job.request.text})
        return Accepted(tuple(self.jobs[job.id] for job in jobs), self.replayed, "group" if group else None)

    def add(self, owner, submission):
        job_id = f"job{len(self.jobs)}"
        self.jobs[job_id] = Job(
            id=job_id,
            owner=owner,
            computation=f"computation{len(self.jobs)}",
            request=submission.request,
            work_digest=submission.work_digest,
            cost=submission.cost,
            status=JobStatus.QUEUED,
            created_at=NOW,
            started_at=None,
            finished_at=None,
            queue_position=0,
            attempts=0,
            cancel_requested=False,
            progress=Progress(phase="queued", done=0, total=0),
        )
        return self.jobs[job_id]

    def get(self, owner, job_id):
        self.read += 1
        job = self.jobs.get(job_id)
        if job is None or owner not in {None, job.owner}:
            raise JobNotFound(f"no job '{job_id}' here; send the request again")
        return job

    def list(self, owner, *, limit, cursor=None, group=None, status=None):
        own = (job for job in reversed(self.jobs.values()) if job.owner == owner and status in (None, job.status))
        return Page(tuple(own)[:limit], None)

    def cancel(self, owner, job_id):
        job = self.get(owner, job_id)
        if job.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
            raise JobEnded(f"the job has {job.status} already")
        self.jobs[job_id] = replace(job, status=JobStatus.CANCELLED, cancel_requested=True)
        return self.jobs[job_id]

    def delete(self, owner, job_id):
        self.get(owner, job_id)
        del self.jobs[job_id]

    def retry(self, job_id):
        return self.get(None, job_id)

    def read_head(self, job):
        return orjson.loads(self.parts[job.head.ref])

    def read_layer(self, job, index):
        (layer,) = (layer for layer in job.layers if layer.index == index)
        return self.parts[layer.ref]

    def read_events(self, computation, after, count, jobs=()):
        found = [event for event in self.events if after is None or later(event.id, after)]
        ends = {job: self.jobs[job].cancelled_after for job in jobs if job in self.jobs}
        return EventPage(
            tuple(found[:count]),
            ends={job: end for job, end in ends.items() if end},
            gone=frozenset(job for job in jobs if job not in self.jobs),
        )

    def load(self):
        return Load(waiting=0, backlog=0.0, limit=600.0, workers=self.workers, rate=self.rate)

    def models(self):
        return self.held

    def claim_webhooks(self, limit, lease):
        return []

    def settle_webhook(self, claim, outcome, again=None):
        return True

    def durability(self):
        return Durability("Redis 7.4.0", "last_second", "noeviction")

    def watch(self, job):
        return contextlib.nullcontext(NoChanges())

    @contextlib.asynccontextmanager
    async def running(self):
        yield

    def finish(self, job_id, head, layers=()):
        """The job succeeded; `head` is the result without its layers."""
        told = orjson.dumps(head)
        self.parts[job_id] = told
        stored = []
        for layer in layers:
            ref, plain = f"{job_id}:{layer.index}", layer.to_bytes()
            self.parts[ref] = plain
            stored.append(StoredLayer(ref, len(plain), len(plain), index=layer.index, converged=layer.converged))
        self.jobs[job_id] = replace(
            self.jobs[job_id],
            status=JobStatus.SUCCEEDED,
            finished_at=NOW,
            queue_position=None,
            head=StoredPart(job_id, len(told), len(told)),
            layers=tuple(stored),
        )

    def fail(self, job_id, error):
        self.jobs[job_id] = replace(self.jobs[job_id], status=JobStatus.FAILED, error=error.as_dict())


@pytest.fixture
def jobs():
    return MemoryJobs()


@pytest.fixture
def api(jobs):
    with TestClient(create_app(Settings(), jobs), raise_server_exceptions=False) as client:
        yield client
