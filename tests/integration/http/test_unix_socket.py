"""An API on a unix socket that was opened for it, as systemd opens one: who comes through it is a proxy."""

import os
import socket
import subprocess
import sys

import httpx
import pytest

from tests.running.waiting import PATIENCE

BODY = {"text": "hello", "model": "minilm"}


@pytest.fixture
def through_socket(redis_url, tmp_path):
    """A client of an API process behind a unix socket."""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        command = [sys.executable, "-m", "service.process.server", "--listener-fd", str(listener.fileno())]
        environment = {**os.environ, "LIG_REDIS_URL": redis_url, "LIG_MAX_CLIENT_CONNECTIONS": "1"}
        process = subprocess.Popen(command, env=environment, pass_fds=[listener.fileno()])
        with httpx.Client(
            transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=PATIENCE
        ) as client:
            yield client
        process.terminate()
        assert process.wait(PATIENCE) == 0


def test_its_prefix_is_believed_and_its_connections_are_many(through_socket):
    accepted = through_socket.post("/v1/explain", json=BODY, headers={"X-Forwarded-Prefix": "/lig"})
    assert accepted.status_code == 202
    assert accepted.headers["location"] == f"/lig/v1/jobs/{accepted.json()['id']}"
    with through_socket.stream("GET", "/v1/jobs", headers={"X-Forwarded-Prefix": "/lig"}) as jobs:
        assert through_socket.get("/livez").status_code == 200  # on a second connection, while the first is in use
        assert jobs.status_code == 200
