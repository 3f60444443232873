"""Redis cannot be used for a while: nothing ends, no job fails of it, all of it is said, and then all goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from lig_core.serving.queue import names
from lig_core.serving.queue.moves import Moves, Run
from lig_core.serving.queue.upkeep import server_time, tidy
from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.process.embedded import embedded_redis
from service.settings import Settings
from tests.running.processes import child_of
from tests.running.redis_states import STATES, frozen, full
from tests.running.submitting import runs, submit
from tests.running.waiting import PATIENCE, ended, wait_until
from worker.take.lease_worker import RETRY_SECONDS, LeaseWorker
from worker.take.stopping import Stopping

QUICK = {"LIG_REDIS_TIMEOUT": "0.5"}
LONGER_THAN_TWO_TRIES = 3.0


def ready(api):
    return api.get("/readyz").status_code == 200


@pytest.fixture
def said(capfd):
    """The messages of the worker's lines so far; each is one line."""
    seen = []

    def messages():
        seen.extend(line for line in capfd.readouterr().err.splitlines() if line.strip())
        assert all(line.startswith("{") for line in seen), seen
        return [json.loads(line)["message"] for line in seen]

    return messages


@pytest.mark.parametrize("state", STATES)
def test_an_idle_worker_waits_says_so_and_goes_on(api, start_worker, redis, said, state):
    enter, words = STATES[state]
    worker = start_worker()
    wait_until(lambda: ready(api))
    with enter(redis):
        wait_until(lambda: sum(words in message for message in said()) >= 2)
        answer = api.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert words in answer.json()["detail"]
        assert worker.poll() is None
    assert ended(api, submit(api, "hello"))["status"] == "succeeded"
    assert ready(api)
    assert worker.poll() is None


@pytest.mark.parametrize("state", STATES)
def test_a_job_at_work_is_computed_once_and_its_result_delivered(api, start_worker, redis, tmp_path, state):
    enter, _ = STATES[state]
    start_worker()
    job, waiting = submit(api, "sleep 1"), submit(api, "hello")
    wait_until(lambda: "sleep 1" in runs(tmp_path))
    with enter(redis):
        time.sleep(LONGER_THAN_TWO_TRIES)  # the job is over before that
    shown = ended(api, job)
    assert (shown["status"], shown["attempts"], shown.get("problem")) == ("succeeded", 1, None)
    assert shown["result"]["text"] == "sleep 1"
    assert ended(api, waiting)["status"] == "succeeded"
    assert sorted(runs(tmp_path)) == ["hello", "sleep 1"]


def test_a_job_stopped_by_nothing_but_redis_is_neither_taken_over_nor_counted_as_crashed(
    api, start_worker, redis, tmp_path
):
    start_worker(lease=2)
    start_worker(lease=2)
    wait_until(lambda: ready(api) and api.get("/readyz").json()["workers"] == 2)
    job = submit(api, "sleep 1")
    wait_until(lambda: "sleep 1" in runs(tmp_path))
    with frozen(redis):
        time.sleep(4)  # the lease is over, and nobody could renew it
    shown = ended(api, job)
    assert (shown["status"], shown["attempts"]) == ("succeeded", 1)
    assert runs(tmp_path) == ["sleep 1"]


def test_time_without_redis_is_no_running_time(redis_url, redis, start_worker, tmp_path):
    settings = Settings(job_timeout=3)
    start_worker(lease=3)
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as api:
        job = submit(api, "sleep 1")
        wait_until(lambda: "sleep 1" in runs(tmp_path))
        with full(redis):
            time.sleep(5)
        assert ended(api, job)["status"] == "succeeded"


@pytest.mark.parametrize("outage", ["frozen", "frozen, and the worker now and then"])
def test_a_process_that_died_while_redis_was_away_leaves_nobody_out_of_step(api, start_worker, redis, outage):
    worker = start_worker()
    wait_until(lambda: ready(api))
    child_of(worker).kill()
    time.sleep(1)
    with frozen(redis):
        time.sleep(4)
    jobs = {f"text {number}": submit(api, f"text {number}") for number in range(6)}
    jobs |= {f"fail {number}": submit(api, f"fail {number}") for number in range(2)}
    until = time.monotonic() + 5
    while outage != "frozen" and time.monotonic() < until:
        worker.send_signal(signal.SIGSTOP)
        time.sleep(0.35)
        worker.send_signal(signal.SIGCONT)
        time.sleep(0.35)
    for text, job in jobs.items():
        shown = ended(api, job)
        if text.startswith("fail"):
            assert (shown["status"], shown["problem"]["code"]) == ("failed", "not_converged")
        else:
            assert (shown["status"], shown["result"]["text"]) == ("succeeded", text)
        assert shown["attempts"] == 1
    assert worker.poll() is None


def test_every_sign_of_life_registers_a_worker_anew(api, start_worker, redis):
    start_worker()
    wait_until(lambda: ready(api))
    redis.flushall()
    assert not ready(api)
    wait_until(lambda: ready(api))
    # Frozen beside another one, it was cleaned away.
    (key,) = redis.smembers(names.key("workers", "lig"))
    redis.delete(key)
    redis.srem(names.key("workers", "lig"), key)
    wait_until(lambda: ready(api))
    assert redis.hget(key, "pid")


def test_a_worker_goes_on_with_an_empty_redis_in_the_place_of_the_one_it_knew(tmp_path, start_worker):
    place, settings = tmp_path / "redis", Settings()
    with embedded_redis(place) as server:
        url = server.url
        worker = start_worker(LIG_REDIS_URL=url)
        with TestClient(create_app(settings, RqJobStore(url, settings))) as api:
            wait_until(lambda: ready(api))
    for file in place.rglob("*.aof*"):
        file.unlink()
    with embedded_redis(place), TestClient(create_app(settings, RqJobStore(url, settings))) as api:
        wait_until(lambda: ready(api))
        assert ended(api, submit(api, "hello"))["status"] == "succeeded"
        assert worker.poll() is None


def test_a_worker_says_at_once_what_it_is_and_that_redis_is_not_there(start_worker, tmp_path, said):
    worker = start_worker(
        LIG_REDIS_URL=f"redis://ada:secret@127.0.0.1:1/0?client_name={tmp_path.name}",
        LIG_DEVICE="cpu",
        LIG_QUEUE="mine",
    )
    wait_until(lambda: sum("does not answer" in message for message in said()) >= 3)
    lines = said()
    assert all(word in lines[0] for word in ("device cpu", "queue mine", "models", "redis://ada:***@127.0.0.1:1"))
    assert "Connection refused" in lines[1]
    assert not any("secret" in line for line in lines)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0


def test_a_wrong_password_is_waited_for(api, redis, start_worker, said):
    enter, words = STATES["refusing"]
    with enter(redis):
        worker = start_worker()
        wait_until(lambda: sum(words in message for message in said()) >= 2)
    wait_until(lambda: ready(api))
    assert worker.poll() is None


def test_the_worker_command_says_how_it_began_and_how_it_ended(redis_url):
    command = [sys.executable, "-m", "worker"]
    environment = {**os.environ, "LIG_REDIS_URL": redis_url, "LIG_PRELOAD": '["/nowhere"]'}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    first, last = done.stderr.splitlines()
    assert done.returncode == 1
    assert "models /nowhere" in json.loads(first)["message"]
    assert last.startswith("lig worker: ")


def test_an_api_says_redis_s_own_words(redis, start_api_process, capfd):
    url, _ = start_api_process(**QUICK)
    with full(redis):
        answer = httpx.post(f"{url}/v1/explain", json={"text": "hi", "model": "minilm"}, timeout=PATIENCE)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    wait_until(lambda: "command not allowed when used memory > 'maxmemory'" in capfd.readouterr().err)


def test_an_idle_service_of_one_command_outlives_a_full_redis(serve):
    run = serve().wait_until_ready()
    with Redis(unix_socket_path=str(run.socket)) as own, httpx.Client(base_url=run.url, timeout=PATIENCE) as api:
        with full(own):
            # Longer than it took for a worker that gave up, and for the supervisor to notice.
            wait_until(lambda: "maxmemory is reached" in api.get("/readyz").json().get("detail", ""))
            time.sleep(LONGER_THAN_TWO_TRIES * 3)
            assert run.process.poll() is None
        wait_until(lambda: api.get("/readyz").is_success)
    assert run.end() == 0


def test_a_part_that_is_written_again_is_kept_as_long_as_its_pointer(by_hand):
    b = by_hand()
    b.send_one("ada")
    run = b.start()
    for _ in range(2):  # the answer to the first was lost
        b.add_layer(run, 0)
    ref = names.blob_key("lig", run.computation, run.execution, "layer:0")
    assert b.redis.ttl(ref) == -1


def test_leases_that_nobody_could_renew_are_left_alone(by_hand):
    b = by_hand()
    b.send_one("ada")
    run = Run("lig", b.take(), "a")
    assert Moves(b.redis, "lig").start(run, "w1", lease=-1)
    tidy(b.redis, "lig", server_time(b.redis), leases_count=False)
    assert b.moves.renew(run, 30)
    b.redis.zadd(run.place.key, {run.place.member: 0})
    tidy(b.redis, "lig", server_time(b.redis), leases_count=True)
    assert not b.moves.renew(run, 30)


class Ready:
    """In place of the process with the models: always ready, and it holds nothing."""

    holds: ClassVar = {}

    def make_ready(self, go_on):
        return True


@pytest.mark.parametrize("where", ["between two of its commands", "in one of its commands"])
def test_a_worker_that_saw_nothing_of_an_outage_leaves_others_the_time_to_renew(by_hand, redis_url, where):
    b, lease = by_hand(), 1.0
    with Redis.from_url(redis_url, socket_timeout=30) as patient, ThreadPoolExecutor() as aside:
        worker = LeaseWorker("lig", Ready(), patient, patient, lease=lease, stopping=Stopping(grace=0))
        until = time.monotonic() + 2 * lease + RETRY_SECONDS
        while time.monotonic() < until:
            assert worker.take(wait=False) is None
            time.sleep(0.05)
        b.send_one("ada")
        run = b.start(lease=lease)  # by another worker, which keeps no house
        if where == "in one of its commands":
            with frozen(b.redis):
                waiting = aside.submit(worker.take, wait=False)
                time.sleep(2 * lease)
            waiting.result()
        else:
            time.sleep(2 * lease)
        worker.take(wait=False)
        assert b.moves.renew(run, lease)
        until = time.monotonic() + 3 * lease + RETRY_SECONDS
        while time.monotonic() < until:  # steady again, and this time nobody renews
            worker.take(wait=False)
            time.sleep(0.05)
        assert not b.moves.renew(run, lease)


def test_a_worker_told_to_stop_while_redis_is_away_stops(api, start_worker, redis, tmp_path):
    worker = start_worker(lease=2, LIG_DRAIN_GRACE="1")
    job = submit(api, "sleep 1")
    wait_until(lambda: "sleep 1" in runs(tmp_path))
    with frozen(redis):
        time.sleep(1.5)  # its outcome cannot be written
        worker.terminate()
        assert worker.wait(PATIENCE) == 0
    start_worker(lease=2)
    assert ended(api, job)["status"] == "succeeded"
