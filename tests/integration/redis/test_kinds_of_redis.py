"""Redis as operators have it: behind Sentinels it is found, a cluster is refused, and so is a Sentinel itself."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

from lig_core.serving.queue.durability import UnfitRedis
from service.app import create_app
from service.jobs.job import Limits
from service.jobs.redis_store import RqJobStore
from service.metrics.queue_numbers import QueueMetrics
from service.process.embedded import find_server
from service.settings import Settings
from tests.running.by_hand import asked
from tests.running.submitting import submit
from tests.running.waiting import wait_until

MASTER = "main"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Server:
    """A Redis on a port of its own."""

    def __init__(self, folder, *options):
        self.port = free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        common = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--logfile", "redis.log"]
        self.process = subprocess.Popen([find_server(), *self.settings(), *common, *options])
        self.url = f"redis://127.0.0.1:{self.port}"

        def answers():
            with Redis.from_url(self.url) as redis:
                try:
                    return redis.ping()
                except RedisError:
                    return False

        wait_until(answers, 20)

    def settings(self):
        return []

    def end(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class SentinelServer(Server):
    """Watches a master, by itself."""

    def __init__(self, folder, watched):
        self.watched = watched
        super().__init__(folder, "--sentinel")

    def settings(self):
        file = self.folder / "sentinel.conf"  # a Sentinel writes into its own
        file.write_text(
            f"sentinel monitor {MASTER} 127.0.0.1 {self.watched.port} 1\n"
            f"sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 2000\n"
        )
        return [file]


@pytest.fixture
def start(tmp_path):
    started = []

    def make(*options, kind=Server):
        started.append(kind(tmp_path, *options))
        return started[-1]

    yield make
    for server in started:
        server.end()


def complaint(*command, **environment):
    """What a command says that cannot go on."""
    env = {**os.environ, "HF_HUB_OFFLINE": "1", **environment}
    done = subprocess.run([sys.executable, *command], check=False, env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [(["--cluster-enabled", "yes"], "this Redis is a cluster"), (["sentinel"], "this is a Sentinel")],
)
def test_a_cluster_and_a_sentinel_are_refused_by_all_in_one_line(start, serve, options, said):
    server = start(start(), kind=SentinelServer) if options == ["sentinel"] else start(*options)
    for command in (["-m", "service.process.server"], ["-m", "worker"]):
        code, told = complaint(*command, LIG_REDIS_URL=server.url, LIG_ALLOW_EVICTION="true")
        refusal = [line for line in told.splitlines() if not line.startswith("{")]  # the worker says first what it is
        assert (code, len(refusal)) == (1, 1), told
        assert said in refusal[0]
    run = serve("--redis-url", server.url)
    assert run.process.wait(60) == 1
    told = run.process.stderr.read()
    assert told.count("\n") == 1 and said in told


def test_an_api_that_was_there_before_the_cluster_accepts_nothing(start):
    settings = Settings()
    url = start("--cluster-enabled", "yes").url
    with Redis.from_url(url) as redis:  # one that works
        redis.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        wait_until(lambda: redis.cluster("info")["cluster_state"] == "ok", 20)
    store = RqJobStore(url, settings)
    with pytest.raises(UnfitRedis, match="cluster"):
        store.submit("ada", [asked()], limits=Limits())
    with TestClient(create_app(settings, store)) as api:
        refused = api.post("/v1/explain", json={"text": "hello", "model": "minilm"})
        assert (refused.status_code, refused.json()["code"]) == (503, "unfit_redis")
        assert api.get("/readyz").status_code == 503


@pytest.mark.slow
def test_jobs_go_on_with_the_master_that_the_sentinels_name(start, start_worker):
    master = start()
    replica = start("--replicaof", "127.0.0.1", str(master.port))
    sentinel = start(master, kind=SentinelServer)
    silent = free_port()  # of two Sentinels one is away
    url = f"redis+sentinel://127.0.0.1:{silent},127.0.0.1:{sentinel.port}/{MASTER}/3"
    with Redis.from_url(sentinel.url) as asked_of:
        wait_until(lambda: asked_of.sentinel_slaves(MASTER), 30)
    settings = Settings(redis_url=SecretStr(url), allow_eviction=True)
    app = create_app(settings, RqJobStore(url, settings), collectors=[QueueMetrics(url, settings)])
    with TestClient(app) as api:
        start_worker(LIG_REDIS_URL=url, LIG_ALLOW_EVICTION="true")
        wait_until(lambda: api.get("/readyz").status_code == 200, 30)
        assert api.get(f"{submit(api, 'one')}?wait=30").json()["status"] == "succeeded"
        with Redis.from_url(f"{master.url}/3") as redis:
            assert redis.dbsize() > 0
            assert redis.wait(1, 5000) == 1  # the replica has it all
        master.end()
        accepted = []

        def accepts():
            answer = api.post("/v1/explain", json={"text": "two", "model": "minilm"})
            accepted.append(answer)
            return answer.status_code == 202

        wait_until(accepts, 60)
        assert {answer.status_code for answer in accepted[:-1]} <= {503}
        shown = api.get(f"{accepted[-1].headers['location']}?wait=30").json()
        assert shown["status"] == "succeeded"
        assert len(api.get("/v1/jobs").json()["jobs"]) == 2
        began = time.monotonic()
        told = api.get(f"{accepted[-1].headers['location']}/events").text
        assert "event: succeeded" in told and time.monotonic() - began < 20
        with Redis.from_url(f"{replica.url}/3") as redis:
            assert redis.info("replication")["role"] == "master"
