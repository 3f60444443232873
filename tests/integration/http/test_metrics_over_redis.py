"""What Prometheus reads of the queue, the jobs and the workers: over a real Redis, with and without a worker."""

import platform
import re
import socket
import time
from importlib.metadata import PackageNotFoundError, version

import psutil
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from generate.metrics import FILE, table
from lig_core.serving.queue import names
from lig_core.serving.queue.counters import COUNTERS, HISTOGRAMS
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.upkeep import server_time, take_over, tidy
from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.metrics import queue_numbers, this_process
from service.metrics.queue_numbers import QueueMetrics
from service.settings import Settings
from tests.running.by_hand import QUEUE, asked
from tests.running.waiting import PATIENCE, ended, wait_until
from tests.support.closeness import assert_close

OF_THE_PROCESS = ("lig_http", "lig_build_info", "process_")


def application(redis_url, settings=None):
    settings = settings or Settings()
    return TestClient(
        create_app(settings, RqJobStore(redis_url, settings), collectors=[QueueMetrics(redis_url, settings)])
    )


@pytest.fixture
def api(redis_url):
    with application(redis_url) as client:
        yield client


class Page:
    """The metrics as they stand."""

    def __init__(self, api):
        answer = api.get("/metrics")
        assert answer.status_code == 200
        self.text = answer.text
        self.families = {f.name: f for f in text_string_to_metric_families(answer.text)}
        self.samples = {
            (s.name, frozenset(s.labels.items())): s.value for f in self.families.values() for s in f.samples
        }

    def __call__(self, name, **labels):
        return self.samples[f"lig_{name}", frozenset(labels.items())]

    def of(self, name):
        """The values by the one label's value."""
        return {next(iter(dict(labels).values())): v for (n, labels), v in self.samples.items() if n == f"lig_{name}"}


def test_every_series_is_there_at_zero_before_anything_happened(api):
    page = Page(api)
    assert page("redis_up") == 1
    assert page("backlog_limit_seconds") == Settings().max_backlog
    not_zero = {"lig_redis_up", "lig_backlog_limit_seconds"}
    ours = {
        key: v for key, v in page.samples.items() if not key[0].startswith(OF_THE_PROCESS) and key[0] not in not_zero
    }
    assert set(ours.values()) == {0}
    for name, labels in COUNTERS.items():
        if labels:
            assert set(page.of(f"{name}_total")) == set(labels)
        else:
            assert page(f"{name}_total") == 0
    for name, bounds in HISTOGRAMS.items():
        assert len(page.of(f"{name}_bucket")) == len(bounds) + 1
    assert page.of("queue_length") == {"interactive": 0, "bulk": 0}
    assert page.of("workers") == {"idle": 0, "busy": 0, "started": 0, "suspended": 0}


def test_the_table_in_the_repository_is_current():
    assert FILE.read_text() == table(), "run: make metrics"


def test_the_table_names_what_the_page_shows(api, by_hand):
    b = by_hand()
    b.worker_alive()
    b.redis.hset("rq:worker:w1", Field.HOLDS, '{"models": [{"model": "m", "dtype": "float32", "bytes": 1}]}')
    shown = {f.name for f in Page(api).families.values() if not f.name.endswith("_created")}
    listed = {name.removesuffix("_total") for name in re.findall(r"^\| `(\w+)` \|", FILE.read_text(), re.MULTILINE)}
    assert {name.removesuffix("_total") for name in shown} == listed


def test_what_waits_is_told_by_priority(api, by_hand):
    b = by_hand()
    b.send("ada", asked(cost=2.0), asked(cost=3.0), asked(cost=5.0, priority="bulk"))
    time.sleep(0.05)
    page = Page(api)
    assert page.of("queue_length") == {"interactive": 2, "bulk": 1}
    assert page.of("queue_cost_seconds") == {"interactive": 5, "bulk": 5}
    assert page("backlog_seconds") == 10
    assert all(0.05 <= waited < 60 for waited in page.of("queue_oldest_seconds").values())
    b.start()
    page = Page(api)
    assert page.of("queue_length") == {"interactive": 1, "bulk": 1}
    assert page.of("computations") == {"queued": 2, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 0}
    assert page("backlog_seconds") == 10


@pytest.mark.parametrize("act", ["cancel", "delete", "compute", "take_over"])
def test_what_leaves_the_line_is_told_no_more(api, by_hand, act):
    b = by_hand()
    jobs = [b.send_one("ada", asked(cost=0.1)) for _ in range(3)]
    if act == "compute":
        for _ in jobs:
            b.compute()
    elif act == "take_over":
        for _ in jobs:
            b.start(lease=-1)
        take_over(b.redis, QUEUE, time.time() + 1)
        assert Page(api).of("queue_length") == {"interactive": 3, "bulk": 0}
        assert_close(Page(api)("queue_cost_seconds", priority="interactive"), 0.3, 1e-9)
        for _ in jobs:
            b.compute()
    else:
        for job in jobs:
            getattr(b.store, act)("ada", job.id)
    page = Page(api)
    assert page.of("queue_length") == page.of("queue_cost_seconds") == {"interactive": 0, "bulk": 0}
    assert page.of("queue_oldest_seconds") == {"interactive": 0, "bulk": 0}


def test_a_line_that_was_lost_is_counted_anew(api, by_hand, redis):
    b = by_hand()
    first = b.send_one("ada", asked(cost=2.0))
    b.send_one("ada", asked(cost=3.0))
    b.send_one("ada", asked(cost=4.0, priority="bulk"))
    redis.zrem(names.key("line", QUEUE, "interactive"), first.computation)
    redis.delete(names.key("line", QUEUE, "bulk"))
    redis.hset(names.key("costs", QUEUE), "interactive", 99)
    tidy(redis, QUEUE, server_time(redis))
    page = Page(api)
    assert page.of("queue_length") == {"interactive": 2, "bulk": 1}
    assert page.of("queue_cost_seconds") == {"interactive": 5, "bulk": 4}


def test_a_real_worker_s_jobs_are_counted(api, start_worker):
    worker = start_worker()
    for text in ("hello", "hello", "fail", "die"):
        body = {"text": text, "model": "minilm", "granularity": "layer"}
        job = api.post("/v1/explain", json=body, headers={"Prefer": "wait=0"}).json()
        assert ended(api, f"/v1/jobs/{job['id']}")["status"] in {"succeeded", "failed"}
    page = Page(api)
    assert page("jobs_accepted_total") == 4
    assert page.of("jobs_ended_total") == {"succeeded": 2, "failed": 2, "cancelled": 0}
    assert page("coalesced_total", computation="finished") == 1
    assert (page("attempts_total"), page("retries_total"), page("dead_letters_total")) == (5, 2, 1)
    assert page("dead_letters_kept") == 1
    assert page.of("computations") == {"queued": 0, "running": 0, "succeeded": 1, "failed": 2, "cancelled": 0}
    assert page("compute_seconds_count") == page("load_seconds_count") == page("model_loads_total") == 1
    assert page("wait_seconds_count") == 3
    assert sum(page.of("workers").values()) == 1
    # Of the process after the one that died, with the next sign of life.
    wait_until(lambda: Page(api)("workers_resident_bytes") > 1e6)
    worker.terminate()
    worker.wait(PATIENCE)
    assert sum(Page(api).of("workers").values()) == 0


def test_a_busy_worker_and_its_models_are_told(api, start_worker):
    start_worker()
    body = {"text": "hello", "model": "minilm"}
    api.post("/v1/explain", json=body, headers={"Prefer": "wait=60"})
    long = api.post("/v1/explain", json={**body, "text": "sleep 200"}).json()
    wait_until(lambda: Page(api)("workers", state="busy") == 1)
    page = Page(api)
    assert page.of("workers") == {"idle": 0, "busy": 1, "started": 0, "suspended": 0}
    assert page("computations", state="running") == 1
    wait_until(lambda: "lig_models_held{" in Page(api).text)  # with the next sign of life
    page = Page(api)
    assert page("models_held", model="minilm", dtype="float32") == 1
    assert page("models_held_bytes", model="minilm", dtype="float32") == 1_000_000
    api.post(f"/v1/jobs/{long['id']}/cancel")


def test_models_are_summed_over_workers_and_only_the_largest_are_named(api, by_hand, monkeypatch):
    monkeypatch.setattr(queue_numbers, "MOST_MODELS", 2)
    b = by_hand()
    for worker, sizes in {"w1": {"a": 5, "b": 3, "c": 1}, "w2": {"a": 5, "d": 2}}.items():
        b.worker_alive(worker)
        held = ",".join(f'{{"model": "{m}", "dtype": "float32", "bytes": {size}}}' for m, size in sizes.items())
        b.redis.hset(f"rq:worker:{worker}", Field.HOLDS, f'{{"models": [{held}], "resident": 7, "device": null}}')
    page = Page(api)
    assert page.of("workers")["started"] == 2
    assert (page("workers_resident_bytes"), page("workers_device_bytes")) == (14, 0)
    assert page("models_held", model="a", dtype="float32") == 2
    assert page("models_held_bytes", model="a", dtype="float32") == 10
    assert page("models_held_bytes", model="b", dtype="float32") == 3
    assert page("models_held_bytes", model="other", dtype="other") == 3
    assert len(page.families["lig_models_held"].samples) == 3


def test_the_page_names_no_owner_no_job_and_no_text(api, by_hand):
    b = by_hand()
    job = b.send_one("a-secret-owner", asked("a secret text"))
    b.send_one("a-secret-owner", asked("a secret text", priority="bulk"))
    b.start()
    text = Page(api).text
    assert "secret" not in text
    assert job.id not in text
    assert job.computation not in text


def test_webhooks_are_counted_by_what_came_of_them(api, by_hand, redis):
    b = by_hand()
    for _ in range(4):
        b.store.cancel("ada", b.send_one("ada", asked(webhook="https://a.example/hook")).id)
    assert Page(api)("webhooks_waiting") == 4
    for claim, outcome in zip(b.store.claim_webhooks(9, 30), ("delivered", "given_up", "dropped"), strict=False):
        b.store.settle_webhook(claim, outcome)
    page = Page(api)
    assert page("webhooks_waiting") == 1
    assert page.of("webhooks_total") == {"delivered": 1, "retried": 0, "given_up": 1, "dropped": 1}


def test_without_redis_the_page_says_so_and_keeps_the_rest(redis_url):
    api = application("unix:///nowhere/redis.sock")
    api.get("/livez")
    page = Page(api)
    assert page("redis_up") == 0
    assert page("http_requests_total", method="GET", route="/livez", status="200") == 1
    assert [name for name in page.families if not name.startswith((*OF_THE_PROCESS, "lig_redis_up"))] == []


def test_the_process_tells_its_versions_and_what_it_takes(api):
    page = Page(api)
    versions = {"version": version("lig-service"), "python": platform.python_version(), "torch": version("torch")}
    assert page("build_info", **versions) == 1
    resident = page.samples["process_resident_memory_bytes", frozenset()]
    assert 0.5 < resident / psutil.Process().memory_info().rss < 2
    assert page.samples["process_cpu_seconds_total", frozenset()] > 0


def test_without_torch_its_version_is_empty(monkeypatch):
    def installed(package):
        if package == "torch":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(this_process, "version", installed)
    (metric,) = this_process.BuildInfo().collect()
    assert [sample.labels["torch"] for sample in metric.samples] == [""]


def test_a_redis_that_hangs_holds_the_page_up_for_a_moment_only(monkeypatch):
    monkeypatch.setattr(queue_numbers, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        page = Page(application(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        assert page("redis_up") == 0
        assert time.monotonic() - began < 20


def test_reading_costs_the_same_however_long_the_queue_is(by_hand, redis, redis_url):
    b, settings = by_hand(max_backlog=1e9), Settings()
    asked_of = QueueMetrics(redis_url, settings)

    def commands():
        before = redis.info("commandstats")
        list(asked_of.collect())
        after = redis.info("commandstats")
        spent = {name: told["calls"] - before.get(name, {"calls": 0})["calls"] for name, told in after.items()}
        return {name: calls for name, calls in spent.items() if calls and name != "cmdstat_info"}

    commands()
    few = commands()
    b.send("ada", *(asked() for _ in range(300)))
    assert commands() == few
