"""What is told to stop does, at whatever moment; `make stops` does so longer."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.places import ROOT


def campaign(name, *options):
    command = [sys.executable, "-m", f"tests.faults.{name}", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_small_supervised_trees_end_whenever_they_are_stopped():
    done = campaign("trees", "--count", "100")
    assert (done.returncode, done.stdout) == (0, "{'ended': 100}, 0 left behind\n"), done.stderr


@pytest.mark.slow
def test_the_service_ends_at_whatever_it_is():
    done = campaign("stops", "--count", "3")
    assert done.returncode == 0, done.stdout + done.stderr


def wait_until(holds):
    while not holds():
        time.sleep(0.02)


@pytest.fixture
def start_process():
    started = []

    def start(*command, **environment):
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()  # and not read to its end: a child that outlives it may hold the other one


LOADING = """
import sys
from pathlib import Path
from worker.main import work
from worker.settings import Settings
command = [sys.executable, "-c", "import sys; print(file=open(sys.argv[1], 'w')); sys.stdin.read()", sys.argv[1]]
work(Settings(), child=command)
"""


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_while_its_models_load(start_process, tmp_path, name):
    worker = start_process("-c", LOADING, str(tmp_path / "loading"), LIG_REDIS_URL=f"unix://{tmp_path}/nothing")
    wait_until((tmp_path / "loading").exists)
    worker.send_signal(name)
    assert worker.wait(60) == 0
    assert "Traceback" not in worker.stderr.read()


STUCK = """
import sys, threading
from worker.take import stopping
stopping.LAST_SECONDS = 0.2
lock = threading.Lock()
with stopping.Stopping(grace=0.2).listening():
    lock.acquire()
    print("stuck", file=sys.stderr, flush=True)
    lock.acquire()
"""


def test_a_worker_that_is_stuck_is_ended_after_its_grace(start_process):
    worker = start_process("-c", STUCK)
    assert worker.stderr.readline() == "stuck\n"
    worker.terminate()
    assert worker.wait(60) == 1
    assert worker.stderr.read() == "lig worker: it did not end in time after the signal to stop, and is ended now\n"


STUBBORN = """
import os, sys
from service.process.stopping import Stopped, stop_signals
from service.process.supervisor import Command, supervise
with stop_signals() as stop:
    def begin(check):
        print("up", file=sys.stderr, flush=True)
    try:
        supervise({"it": Command(["sh", "-c", "trap '' TERM; sleep 600"])}, os.environ, stop, 1000, begin=begin)
    except Stopped:
        sys.exit(0)
"""


def test_a_second_signal_ends_what_does_not_heed_the_first(start_process):
    supervisor = start_process("-c", STUBBORN)
    assert supervisor.stderr.readline() == "up\n"
    supervisor.send_signal(signal.SIGTERM)
    supervisor.send_signal(signal.SIGINT)  # two of the same might be one
    assert supervisor.wait(60) == 0


def test_an_api_ends_while_redis_is_frozen(start_api_process, redis):
    _, process = start_api_process()
    server = psutil.Process(redis.info("server")["process_id"])
    server.suspend()
    try:
        process.terminate()
        assert process.wait(60) == 0
    finally:
        server.resume()
