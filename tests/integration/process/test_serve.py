"""`lig serve`: everything up with one command, everything gone afterwards."""

import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest
from redis import Redis

from lig_core.client import Client
from lig_core.serving.queue import names
from tests.running.served import REAL, SCRIPTED
from tests.running.waiting import PATIENCE, being_answered, wait_until
from tests.support.places import ROOT


def test_one_command_explains_a_sentence_and_sigterm_leaves_nothing(serve):
    run = serve(script=REAL).wait_until_ready()
    assert len(run.family) == 4  # Redis, API, worker, and the process with the models
    phases = []
    with Client(run.url) as client:
        result = client.explain(
            "The cat sat.",
            model="minilm",
            layers=[0],
            num_steps=4,
            on_unconverged="ignore",
            on_progress=lambda progress: phases.append(progress.phase),
        )
    assert result["tokens"][:2] == ["[CLS]", "the"]
    assert list(result["layers"]) == ["0"]
    assert result["layers"]["0"]["z2z"]["shape"] == [len(result["tokens"])] * 2
    assert phases[-1] == "done"
    assert run.end(signal.SIGTERM) == 0
    assert run.left_behind() == []
    assert not run.socket.exists()
    assert "not ready" not in run.process.stderr.read()


def test_ctrl_c_leaves_nothing_even_while_a_request_waits(serve):
    run = serve().wait_until_ready()
    run.child("worker").suspend()  # so that the job stays queued
    job = httpx.post(f"{run.url}/v1/explain", json={"text": "hi", "model": "minilm"}).json()["id"]
    with socket.create_connection(httpx.URL(run.url).netloc.decode().split(":")) as waiting:
        waiting.sendall(f"GET /v1/jobs/{job}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        run.child("worker").resume()
        began = time.monotonic()
        assert run.end(signal.SIGINT) == 0
        assert time.monotonic() - began < 15
    assert run.left_behind() == []
    assert not run.socket.exists()


@pytest.mark.parametrize(
    ("word", "name"), [("worker", "worker"), ("service.process.server", "API"), ("unixsocket", "Redis")]
)
def test_a_dying_child_takes_all_down_and_is_named(serve, word, name):
    run = serve(LIG_STOP_GRACE="1").wait_until_ready()
    run.child(word).kill()
    assert run.process.wait(PATIENCE) == 1
    assert f"the {name} process ended (exit code -9)" in run.process.stderr.read()
    assert run.left_behind() == []
    assert not run.socket.exists()


def test_a_dying_process_with_models_takes_nothing_down(serve):
    run = serve(LIG_ROOT_PATH="/lig").wait_until_ready()
    assert run.url.endswith("/lig")
    (models,) = run.child("worker").children()
    models.kill()
    with Client(run.url) as client:
        assert client.explain("hello", model="minilm")["text"] == "hello"
    assert run.end() == 0
    assert run.left_behind() == []


def test_nothing_outlives_a_killed_supervisor(serve):
    run = serve().wait_until_ready()
    run.end(signal.SIGKILL)
    assert run.left_behind() == []


def test_a_stop_before_it_is_ready_leaves_nothing(serve):
    run = serve()
    wait_until(lambda: len(psutil.Process(run.process.pid).children()) == 3)
    run.family = psutil.Process(run.process.pid).children(recursive=True)
    assert run.end(signal.SIGTERM) == 0
    assert run.left_behind() == []
    assert not run.socket.exists()


def test_a_taken_port_is_one_line_and_exit_code_2(serve):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = serve("--port", str(port))
        assert run.process.wait(PATIENCE) == 2
    complaint = run.process.stderr.read()
    assert complaint.count("\n") == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in complaint
    assert "choose another with --port" in complaint


def test_a_redis_that_cannot_be_started_is_one_line(serve):
    run = serve(LIG_REDIS_SERVER="/bin/false")
    assert run.process.wait(PATIENCE) == 1
    complaint = run.process.stderr.read()
    assert complaint.count("\n") == 1
    assert "LIG_REDIS_SERVER=/bin/false is not a redis-server" in complaint


def refused(folder, *before):
    """What the command says, and nothing else, of a data folder that it cannot use."""
    command = [*before, sys.executable, *SCRIPTED, "--port", "0", "--data-dir", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    return done.stderr


def test_a_disk_that_takes_no_more_is_one_line(tmp_path):
    """As a quota's end is: no file may grow."""
    line = refused(tmp_path, "sh", "-c", 'ulimit -f 1 && exec "$@"', "limited")
    assert line == (
        f"lig serve: jobs cannot be kept in {tmp_path}: File too large; make room there, or choose another --data-dir\n"
    )


def test_a_folder_of_which_nothing_may_be_changed_is_one_line():
    """Not even by root."""
    line = refused("/proc/self/fd")
    assert "jobs cannot be kept in /proc/self/fd: Operation not permitted; make room there, or choose" in line


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    assert "Not a directory" in refused(tmp_path / "file" / "data")


def test_a_given_redis_that_does_not_answer_is_one_line_without_its_password(serve):
    run = serve("--redis-url", "redis://user:hunter2@127.0.0.1:1/0")
    assert run.process.wait(PATIENCE) == 1
    complaint = run.process.stderr.read()
    assert complaint.count("\n") == 1
    assert "Redis at redis://user:***@127.0.0.1:1/0 does not answer" in complaint
    assert "hunter2" not in complaint


def test_a_given_redis_is_used_and_left_running(serve, redis_url):
    run = serve("--redis-url", redis_url).wait_until_ready()
    assert len(run.family) == 3
    assert httpx.post(f"{run.url}/explain", json={"text": "hi", "model": "minilm"}).status_code == 202
    assert run.end() == 0
    assert run.left_behind() == []
    with Redis.from_url(redis_url) as redis:
        assert redis.ping()


def test_ctrl_c_in_the_client_command_cancels_the_job(serve):
    run = serve().wait_until_ready()
    command = [sys.executable, "-m", "lig_core.cli", "explain", "sleep 60", "--model", "minilm", "--server", run.url]
    asking = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    redis = Redis.from_url(f"unix://{run.socket}")
    (claims,) = wait_until(lambda: list(redis.scan_iter(names.key("claims", "lig", "*"))))
    (job,) = [name.decode() for name in redis.hkeys(claims)]
    wait_until(lambda: 'method="POST"' in httpx.get(f"{run.url}/metrics").text)
    wait_until(lambda: being_answered(run.url) == 1)  # the command has read the job's id and follows it
    asking.send_signal(signal.SIGINT)
    _, said = asking.communicate(timeout=PATIENCE)
    assert (asking.returncode, said) == (130, f"lig: cancelled job {job}\n")
    with Client(run.url) as client:
        assert client.wait(job, timeout=PATIENCE)["status"] == "cancelled"
