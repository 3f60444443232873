"""What Redis promises is read from it, said, and insisted on."""

import sys

import pytest
from pydantic import SecretStr
from redis import Redis

from lig_core.serving.queue.durability import EvictingRedis, read_durability
from service.process.embedded import embedded_redis
from tests.running.waiting import PATIENCE, wait_until
from worker.main import work
from worker.settings import Settings as WorkerSettings


@pytest.fixture
def evicting(redis):
    redis.config_set("maxmemory-policy", "allkeys-lru")
    yield
    redis.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(("fsync", "promise"), [("everysec", "last_second"), ("always", "always")])
def test_the_embedded_redis_promises_what_it_was_told_to(tmp_path, fsync, promise):
    with embedded_redis(tmp_path, fsync=fsync) as server, Redis.from_url(server.url) as redis:
        found = read_durability(redis)
        assert (found.promise, found.eviction) == (promise, "noeviction")
        assert f"appendfsync {fsync}" in found.meaning
        found.require_fit(allow_eviction=False)


def test_without_an_append_only_file_nothing_is_promised(redis):
    redis.config_set("appendonly", "no")
    try:
        assert read_durability(redis).promise == "none"
    finally:
        redis.config_set("appendonly", "yes")


def test_readiness_says_what_is_promised(api, start_worker):
    start_worker()
    wait_until(lambda: api.get("/readyz").status_code == 200)
    assert api.get("/readyz").json()["promise"] == "last_second"


def test_a_redis_that_evicts_makes_the_service_unready(api, start_worker, redis):
    start_worker()
    wait_until(lambda: api.get("/readyz").status_code == 200)
    redis.config_set("maxmemory-policy", "volatile-lru")
    try:
        response = api.get("/readyz")
    finally:
        redis.config_set("maxmemory-policy", "noeviction")
    assert (response.status_code, response.json()["code"]) == (503, "evicting_redis")
    assert "LIG_ALLOW_EVICTION" in response.json()["detail"]


def test_a_worker_refuses_a_redis_that_evicts(evicting, redis_url):
    settings = WorkerSettings(redis_url=SecretStr(redis_url))
    with pytest.raises(EvictingRedis, match="maxmemory-policy allkeys-lru"):
        work(
            settings,
            child=[sys.executable, "-c", "import time; print('{\"ready\": true}', flush=True); time.sleep(60)"],
            burst=True,
        )


def test_serve_refuses_a_redis_that_evicts_in_one_line(evicting, redis_url, serve):
    run = serve("--redis-url", redis_url)
    assert run.process.wait(PATIENCE) == 1
    complaint = run.process.stderr.read()
    assert complaint.count("\n") == 1
    assert "Set it to noeviction" in complaint


def test_eviction_can_be_allowed(evicting, redis_url, serve):
    run = serve("--redis-url", redis_url, LIG_ALLOW_EVICTION="true").wait_until_ready()
    assert run.end() == 0
