"""A real Redis, the API over it, and workers as processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from scripted_worker import ScriptedEngine

from service.app import create_app
from service.embedded import embedded_redis
from service.rq_jobs import RqJobStore
from service.settings import Settings
from worker.main import work
from worker.settings import Settings as WorkerSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory):
    with embedded_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def redis(redis_server):
    with Redis.from_url(redis_server) as connection:
        connection.flushall()
        yield connection


@pytest.fixture
def redis_url(redis_server, redis):
    return redis_server


@pytest.fixture
def api(redis_url):
    settings = Settings()
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as client:
        yield client


@pytest.fixture
def work_off(redis_url):
    """Runs what is queued, here and now, with the scripted engine."""
    return lambda: work(WorkerSettings(), redis_url, ScriptedEngine(), burst=True)


@pytest.fixture
def start_worker(redis_url, tmp_path):
    """Starts worker processes with the scripted engine; each run is a line in `runs`."""
    started = []

    def start(lease=30):
        script = [sys.executable, str(Path(__file__).parent / "scripted_worker.py")]
        process = subprocess.Popen(
            [*script, str(tmp_path / "runs"), str(lease)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "LIG_REDIS_URL": redis_url},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
