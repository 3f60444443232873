"""The API over a job store whose jobs tests carry out by hand."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.running.observed_jobs import ObservedJobs


@pytest.fixture
def jobs(redis_url, redis):
    """A store with one worker, who does nothing by itself."""
    jobs = ObservedJobs(redis_url, redis)
    jobs.set_workers(1)
    return jobs


@pytest.fixture
def api(jobs):
    with TestClient(create_app(Settings(), jobs), raise_server_exceptions=False) as client:
        yield client
