"""A real Redis, the API over it, and workers as processes."""

import functools
import os
import socket
import subprocess
import sys

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.settings import Settings
from tests import programs
from tests.running.served import SCRIPTED, Serve
from tests.running.waiting import PATIENCE, wait_until
from tests.support.places import CHILD, ROOT, WORKER
from worker.main import work
from worker.settings import Settings as WorkerSettings

NGINX = ROOT / "docker/nginx.conf"
LONGEST_FIRST = (
    "test_documents_run",
    "test_redis_unusable",
    "test_stopping",
    "test_two_queues",
    "test_viewer_files",
    "test_fuzz",
    "test_fault_harness",
    "test_serve",
    "test_kinds_of_redis",
)
"""Files that take a minute or more: begun last, one of them would have its processor alone at the end."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--shuffle") is None:
        ranks = {name: rank for rank, name in enumerate(LONGEST_FIRST)}
        items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


@pytest.fixture(scope="session", autouse=True)
def processes_import_this_tree():
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    yield
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def api(redis_url):
    settings = Settings()
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as client:
        yield client


@pytest.fixture
def work_off(redis_url, tmp_path):
    """Runs what is queued, here and now, with the scripted backend."""
    settings = WorkerSettings(redis_url=SecretStr(redis_url))
    child = [sys.executable, str(CHILD), str(tmp_path / "runs")]
    return functools.partial(work, settings, child=child, burst=True)


@pytest.fixture
def start_worker(redis_url, tmp_path):
    """Starts worker processes with the scripted backend; each run is a line in `runs`."""
    started = []

    def start(lease=30, **environment):
        script = [sys.executable, str(WORKER)]
        process = subprocess.Popen(
            [*script, str(tmp_path / "runs")],
            env={**os.environ, "LIG_REDIS_URL": redis_url, "LIG_LEASE": str(lease), **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def start_api_process(redis_url):
    """Starts API processes; returns the address of each, once it answers, and the process."""
    started = []

    def start(address=("127.0.0.1", 0), **environment):
        with socket.create_server(address, backlog=1024) as listener:
            command = [sys.executable, "-m", "service.process.server", "--listener-fd", str(listener.fileno())]
            env = {**os.environ, "LIG_REDIS_URL": redis_url, "LIG_LOG_LEVEL": "warning", **environment}
            started.append(subprocess.Popen(command, env=env, pass_fds=[listener.fileno()]))
            url = "http://{}:{}".format(*listener.getsockname())
            httpx.get(f"{url}/livez", timeout=PATIENCE)
            return url, started[-1]

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(PATIENCE)


@pytest.fixture
def start_api(start_api_process):
    """The same for tests that need no more than the address."""
    return lambda **environment: start_api_process(**environment)[0]


@pytest.fixture
def nginx(tmp_path):
    """Starts nginx with docker/nginx.conf, in which parts are replaced; returns its address, once it answers."""
    binary = programs.require("nginx")
    started = []

    def start(replaced):
        with socket.create_server(("127.0.0.1", 0)) as free:
            url = "http://{}:{}".format(*free.getsockname())
        configuration = NGINX.read_text()
        for part, other in {"/tmp/": f"{tmp_path}/", "listen 8080": f"listen {url[7:]}", **replaced}.items():
            assert part in configuration, part
            configuration = configuration.replace(part, other)
        (tmp_path / "nginx.conf").write_text(configuration)
        # Workers of a master that is root are nobody, who may not enter the folder.
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        started.append(subprocess.Popen([binary, "-e", "stderr", "-c", str(tmp_path / "nginx.conf"), *user]))
        wait_until(lambda: listens(url))
        return url

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE)


def listens(url):
    try:
        return httpx.get(url, timeout=PATIENCE)
    except httpx.TransportError:
        return None


@pytest.fixture
def api_with(redis_url):
    clients = []

    def make(**settings):
        told = Settings(**settings)
        clients.append(TestClient(create_app(told, RqJobStore(redis_url, told))))
        return clients[-1].__enter__()

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def serve(tmp_path):
    runs = []

    def start(*options, script=SCRIPTED, **environment):
        runs.append(Serve(script, tmp_path / "data", *options, **environment))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.communicate()
