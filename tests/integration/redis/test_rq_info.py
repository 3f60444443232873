"""RQ's own tools beside a running service: `rq info` tells the truth, and none of them does any harm."""

import contextlib
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lig_core.errors import LigError
from lig_core.serving.queue import names
from lig_core.serving.queue.moves import Done
from lig_core.serving.queue.upkeep import server_time, take_over, tidy
from service.app import create_app
from service.jobs.job import JobStatus
from service.jobs.redis_store import RqJobStore
from service.metrics.queue_numbers import QueueMetrics
from service.settings import Settings
from tests.integration.http.test_metrics_over_redis import Page
from tests.running.by_hand import QUEUE, asked
from tests.running.submitting import submit
from tests.running.waiting import PATIENCE, ended, wait_until

LINE = re.compile(r"queue (\S+) (\d+), (\d+) executing, (\d+) finished, (\d+) failed")
WORKER = re.compile(r"worker \w+ \(\S+ \S+:\d+ \d+\) (\w+) (\S+)\. jobs: (\d+) finished, (\d+) failed")


@pytest.fixture
def rq(redis_url):
    """RQ's command, as it is installed; what it prints."""

    def run(command, *arguments):
        program = Path(sys.executable).with_name("rq")
        words = [program, command, "--url", redis_url, *arguments]
        return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    return run


@pytest.fixture
def info(rq):
    """What `rq info` says: of each queue those that wait, run, finished, failed; of each worker state and queue."""

    def read():
        printed = rq("info", "--raw")
        queues = {name: tuple(map(int, counts)) for name, *counts in LINE.findall(printed)}
        workers = [(state, name, *map(int, counts)) for state, name, *counts in WORKER.findall(printed)]
        return queues, workers

    return read


@pytest.fixture
def api(redis_url):
    settings = Settings()
    metrics = QueueMetrics(redis_url, settings)
    with TestClient(create_app(settings, RqJobStore(redis_url, settings), collectors=[metrics])) as client:
        yield client


def told_by_metrics(api):
    found = Page(api).of("computations")
    return tuple(int(found[state]) for state in ("queued", "running", "succeeded", "failed"))


def test_it_shows_what_waits_what_runs_what_ended_and_the_workers(api, info, start_worker):
    start_worker()
    for text in ("hello", "hello again", "fail"):
        assert ended(api, submit(api, text))["status"] in {"succeeded", "failed"}
    running = submit(api, "sleep 200")
    wait_until(lambda: api.get(running).json()["status"] == "running")
    for number in range(3):
        submit(api, f"waiting {number}")
    assert info()[0] == {QUEUE: (3, 1, 2, 1)} == {QUEUE: told_by_metrics(api)}
    wait_until(lambda: info()[1] == [("busy", QUEUE, 2, 1)])  # with the next sign of life
    api.post(f"{running}/cancel")


def test_a_service_without_jobs_is_shown_once_it_has_a_worker(info, start_worker):
    assert info() == ({}, [])
    start_worker()
    wait_until(lambda: info() == ({QUEUE: (0, 0, 0, 0)}, [("started", QUEUE, 0, 0)]))


@pytest.mark.parametrize("seed", range(5))
def test_what_it_counts_follows_every_move(by_hand, redis, seed):
    b, draw, jobs, runs = by_hand(crash_retries=1), random.Random(seed), [], []

    def of_a_job(act):
        if jobs:
            with contextlib.suppress(LigError):  # ended, or forgotten
                act(draw.choice(jobs).id)

    def of_a_run(act):
        if runs:
            act(runs.pop(draw.randrange(len(runs))))

    def take():
        computation = b.take()
        if computation is not None and draw.random() < 0.8:
            run = b.run(computation)
            runs.extend([run] if b.moves.start(run, "by hand", draw.choice([-1, 30])) else [])

    def send():
        submission = asked(draw.choice("abcdefgh"), priority=draw.choice(list(names.PRIORITIES)))
        jobs.append(b.send_one("ada", submission))

    moves = [
        send,
        lambda: of_a_job(lambda job: b.store.cancel("ada", job)),
        lambda: of_a_job(lambda job: b.store.delete("ada", job)),
        lambda: of_a_job(b.store.retry),
        take,
        lambda: of_a_run(lambda run: b.moves.finish(run, Done())),
        lambda: of_a_run(lambda run: b.moves.fail(run.place, run.computation, LigError("no"))),
        lambda: of_a_run(lambda run: b.moves.cancel(run.place, run.computation)),
        lambda: of_a_run(lambda run: b.moves.crashed(run.place, run.computation)),
        lambda: of_a_run(lambda run: b.moves.give_back(run.place, run.computation, started=True)),
        lambda: of_a_run(lambda run: b.moves.spoil(run.computation)),
        lambda: tidy(redis, QUEUE, server_time(redis)),
    ]
    most = {"rq_waiting": 0, "rq_running": 0}
    for _ in range(150):
        draw.choices(moves, weights=[5, 1, 1, 1, 4, 1, 1, 1, 1, 1, 1, 1])[0]()
        waiting = redis.llen(names.key("rq_waiting", QUEUE))
        running = redis.zrange(names.key("rq_running", QUEUE), 0, -1)
        assert waiting == redis.zcard(names.key("waiting", QUEUE))
        assert set(running) == set(redis.zrange(names.key("leases", QUEUE), 0, -1))
        most = {"rq_waiting": max(waiting, most["rq_waiting"]), "rq_running": max(len(running), most["rq_running"])}
    assert all(most.values())


def test_a_lease_as_earlier_versions_kept_it_is_taken_over(by_hand, redis):
    b = by_hand()
    job = b.send_one()
    place = b.start(lease=-1).place
    redis.zrem(place.key, place.member)
    redis.zadd(names.key("rq_running", QUEUE), {place.member: 1.0})
    for _ in range(2):
        redis.delete(names.key("healed", QUEUE))
        tidy(redis, QUEUE, server_time(redis))
    assert b.store.get("ada", job.id).status is JobStatus.QUEUED


def test_it_takes_nothing_from_who_is_to_be_taken_over(by_hand, info, redis):
    b = by_hand()
    job = b.send_one()
    b.start(lease=-1)
    assert info()[0] == {QUEUE: (0, 1, 0, 0)}
    assert b.store.get("ada", job.id).status == "running"
    take_over(redis, QUEUE, time.time() + 1)
    assert info()[0] == {QUEUE: (1, 0, 0, 0)}
    assert b.compute() == job.computation
    assert info()[0] == {QUEUE: (0, 0, 1, 0)}


@pytest.mark.parametrize("command", [("worker", "--burst", QUEUE), ("empty", QUEUE)], ids=lambda command: command[0])
def test_rq_s_own_worker_finds_no_job_and_takes_none_away(by_hand, rq, info, redis, command):
    b = by_hand()
    jobs = [b.send_one() for _ in range(5)]
    run = b.start()
    before = {key: redis.dump(key) for job in jobs for key in (names.key("computation", QUEUE, job.computation),)}
    rq(*command)
    assert {key: redis.dump(key) for key in before} == before
    assert b.store.load().workers == 0
    tidy(redis, QUEUE, server_time(redis))
    assert info()[0] == {QUEUE: (4, 1, 0, 0)}
    b.finish(run)
    assert {run.computation, *(b.compute() for _ in jobs[1:])} == {job.computation for job in jobs}
    assert info()[0] == {QUEUE: (0, 0, 5, 0)}


def test_while_rq_s_own_worker_is_there_it_counts_for_nothing(by_hand, redis, redis_url):
    b = by_hand()
    worker = subprocess.Popen([Path(sys.executable).with_name("rq"), "worker", "--url", redis_url, QUEUE])
    try:
        wait_until(lambda: redis.scard(names.key("workers", QUEUE)) == 1)
        job = b.send_one()
        load = b.store.load()
        assert (load.workers, load.limit) == (0, Settings().max_backlog)
        wait_until(lambda: redis.llen(names.key("rq_waiting", QUEUE)) == 0)  # it has taken the entry
        assert b.store.get("ada", job.id).status == "queued"
        assert b.compute() == job.computation
    finally:
        worker.terminate()
        worker.wait(PATIENCE)


def test_two_services_are_two_queues_each_with_its_own(by_hand, info):
    one, other = by_hand(), by_hand(queue="other")
    for b, ends in ((one, 1), (other, 2)):
        b.send("ada", *(asked() for _ in range(5)))
        for _ in range(ends):
            b.compute()
    assert info()[0] == {QUEUE: (4, 0, 1, 0), "other": (3, 0, 2, 0)}
