"""The API over a job store in memory."""

import contextlib
import gzip
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from lig_core.contract import Progress
from lig_core.errors import LigError
from lig_core.queue.durability import Durability
from service.app import create_app
from service.jobs import Job, JobStatus, ResultPointer
from service.problems import JobEnded, JobNotFound
from service.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class NoChanges:
    async def changed(self, seconds):
        return None


@dataclass
class MemoryJobs:
    jobs: dict[str, Job] = field(default_factory=dict)
    requests: list = field(default_factory=list)
    results: dict[str, bytes] = field(default_factory=dict)
    workers: int = 1
    failure: LigError | None = None
    read: int = 0

    def submit(self, request):
        if self.failure:
            raise self.failure
        self.requests.append(request)
        job_id = f"job{len(self.jobs)}"
        progress = Progress(phase="queued", done=0, total=0)
        self.jobs[job_id] = Job(job_id, JobStatus.QUEUED, NOW, None, None, 0, 0, False, progress, None, None)
        return self.jobs[job_id]

    def get(self, job_id):
        self.read += 1
        if job_id not in self.jobs:
            raise JobNotFound(f"no job '{job_id}' here; send the request again")
        return self.jobs[job_id]

    def cancel(self, job_id):
        job = self.get(job_id)
        if job.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
            raise JobEnded(f"the job has {job.status} already")
        self.jobs[job_id] = replace(job, status=JobStatus.CANCELLED, cancel_requested=True)
        return self.jobs[job_id]

    def delete(self, job_id):
        self.get(job_id)
        del self.jobs[job_id]

    def read_result(self, pointer):
        return self.results[pointer.ref]

    def live_workers(self):
        return self.workers

    def durability(self):
        return Durability("Redis 7.4.0", "last_second", "noeviction")

    def watch(self, job_id):
        return contextlib.nullcontext(NoChanges())

    @contextlib.asynccontextmanager
    async def running(self):
        yield

    def finish(self, job_id, json_text):
        self.results[job_id] = gzip.compress(json_text)
        pointer = ResultPointer(job_id, len(json_text))
        self.jobs[job_id] = replace(
            self.jobs[job_id],
            status=JobStatus.SUCCEEDED,
            finished_at=NOW,
            queue_position=None,
            result=pointer,
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
