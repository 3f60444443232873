"""An API process that is told to stop lets go of whoever waits; another process goes on."""

import concurrent.futures
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest

from lig_core.serving.processes import SAME_SIGNAL_SECONDS
from service.keys.keyring import ANONYMOUS
from tests.running.waiting import PATIENCE, being_answered, wait_until

IN_A_THREAD = """
import asyncio, os, signal, time, uvicorn
from service.lifecycle import Lifecycle
from service.process.server import Server

async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    os.kill(os.getpid(), signal.SIGTERM)
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
    print("all is said", flush=True)

Server(uvicorn.Config(app, port=0, log_config=None), Lifecycle()).run()
"""
BODY = {"text": "a text that waits", "model": "minilm", "granularity": "layer"}


@pytest.mark.parametrize(
    ("method", "request_", "status"),
    [("GET", {"params": {"wait": "60"}}, 200), ("POST", {"json": BODY, "headers": {"Prefer": "wait=60"}}, 202)],
    ids=["a long-poll", "a preferred wait"],
)
def test_who_waits_is_told_how_the_job_stands_and_the_process_ends(
    start_api_process, by_hand, method, request_, status
):
    b = by_hand()
    job = b.send_one(ANONYMOUS.name)
    run = b.start()
    (stopped, process), (other, _) = start_api_process(), start_api_process()
    path = f"/v1/jobs/{job.id}" if method == "GET" else "/v1/explain"
    with (
        httpx.Client(base_url=stopped, timeout=PATIENCE) as client,
        concurrent.futures.ThreadPoolExecutor(20) as pool,
    ):
        waiting = [pool.submit(client.request, method, path, **request_) for _ in range(20)]
        wait_until(lambda: being_answered(stopped) == 20)
        assert not any(each.done() for each in waiting)
        process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in waiting]  # of a connection that is cut there is none
        process.wait(PATIENCE)
    assert {answer.status_code for answer in answers} == {status}
    for answer in answers:
        assert answer.json()["status"] == ("running" if method == "GET" else "queued")
        assert int(answer.headers["retry-after"]) >= 1
    b.finish(run)
    if method == "POST":
        b.compute()
    ids = {answer.json()["id"] for answer in answers}
    assert {httpx.get(f"{other}/v1/jobs/{one}?embed=false").json()["status"] for one in ids} == {"succeeded"}


def test_with_a_drain_delay_it_goes_on_meanwhile_and_says_that_it_is_not_ready(start_api_process, start_worker):
    address, process = start_api_process(LIG_DRAIN_DELAY="600")
    start_worker()
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        wait_until(lambda: client.get("/readyz").status_code == 200)
        assert "connection" not in client.get("/livez").headers
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: client.get("/livez").headers.get("connection") == "close")
        refused = client.get("/readyz")
        assert (refused.status_code, refused.json()["code"]) == (503, "draining")
        answer = client.post("/v1/explain", json=BODY, headers={"Prefer": "wait=60"})
        assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    time.sleep(SAME_SIGNAL_SECONDS)
    process.send_signal(signal.SIGTERM)  # ends the delay
    assert process.wait(PATIENCE) == 0


def test_what_came_in_before_the_listener_closes_is_answered(start_api_process):
    address, process = start_api_process(LIG_DRAIN_DELAY="0.5")
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        wait_until(lambda: httpx.get(f"{address}/livez").status_code == 200)  # so it was accepted as well
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(host, int(port)))
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.makefile("rb").readline().split()[1] == b"200"
    assert process.wait(PATIENCE) == 0


def listens(host, port):
    try:
        socket.create_connection((host, port)).close()
    except ConnectionError:
        return False
    return True


def test_a_thread_that_cannot_be_called_off_does_not_keep_it():
    """As one that looks up the name of a Redis that is gone."""
    done = subprocess.run([sys.executable, "-c", IN_A_THREAD], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "all is said\n"), done.stderr
