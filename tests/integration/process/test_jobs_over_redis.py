"""A text goes in over HTTP, through Redis and a worker, and its result comes out."""

import concurrent.futures
import json
import signal
import socket
import time

import httpx
import pytest
from fastapi.testclient import TestClient
from rq import Callback, Queue, SimpleWorker

from lig_core.serving.queue import names
from lig_core.serving.queue.names import TASKS, Field
from service.app import create_app
from service.jobs import redis as connections
from service.jobs.redis_store import RqJobStore
from service.keys.keyring import ANONYMOUS
from service.settings import Settings
from tests.running.submitting import runs, submit
from tests.running.waiting import PATIENCE, being_answered, ended, wait_until
from worker.health import alive


def test_a_text_becomes_a_result(api, work_off):
    job = submit(api, "hello")
    assert api.get(job).json()["status"] == "queued"
    work_off()
    shown = api.get(job).json()
    assert shown["status"] == "succeeded"
    assert shown["result"]["text"] == "hello"
    assert shown["result"] == api.get(f"{job}/result").json()
    assert shown["attempts"] == 1
    assert shown["progress"]["phase"] == "done"
    assert shown["created_at"] < shown["started_at"] < shown["finished_at"]


def test_waiting_jobs_know_how_many_are_ahead(api):
    jobs = [submit(api, "hello") for _ in range(3)]
    assert [api.get(job).json()["queue_position"] for job in jobs] == [0, 1, 2]


def test_bulk_jobs_wait_for_a_few_interactive_ones(api, work_off, tmp_path):
    bulk = [submit(api, f"bulk{n}", priority="bulk") for n in range(2)]
    jobs = [submit(api, f"quick{n}") for n in range(10)]
    positions = [api.get(job).json()["queue_position"] for job in (*jobs, *bulk)]
    assert sorted(positions) == list(range(12))
    assert positions[-2] in {8, 9}  # at an eighth of the weight, level with the ninth but for rounding
    work_off()
    order = (tmp_path / "runs").read_text().split()
    assert order.index("bulk0") == positions[-2]
    assert [text for text in order if text != "bulk0"] == [*(f"quick{n}" for n in range(10)), "bulk1"]


def test_an_idle_worker_takes_a_bulk_job_too(api, start_worker):
    start_worker()
    assert ended(api, submit(api, "hello", priority="bulk"))["status"] == "succeeded"


def test_a_failing_job_shows_its_problem_and_is_not_retried(api, work_off):
    job = submit(api, "fail")
    work_off()
    shown = api.get(job).json()
    assert shown["status"] == "failed"
    assert shown["problem"]["code"] == "not_converged"
    assert shown["problem"]["detail"] == "the tolerance was missed; raise rtol"
    assert shown["finished_at"]
    assert api.get("/v1/jobs/" + shown["id"] + "/result").status_code == 409


def test_an_unexpected_fault_neither_tells_its_message_nor_leaves_it_in_redis(api, work_off, redis, capfd):
    job = submit(api, "break")
    work_off()
    shown = api.get(job)
    assert shown.json()["problem"]["code"] == "internal_error"
    assert "secret" not in shown.text
    assert "a secret" in capfd.readouterr().err
    stored = [redis.dump(key) for key in redis.scan_iter()]
    assert stored and not any(b"secret" in value for value in stored)


def test_a_model_that_is_not_there_fails_the_job_with_its_own_code(redis_url, work_off):
    settings = Settings(ask_hub=False)
    api = TestClient(create_app(settings, RqJobStore(redis_url, settings)))
    job = api.post("/v1/explain", json={"text": "hi", "model": "nobody/nothing"}).headers["location"]
    work_off()
    assert api.get(job).json()["problem"]["code"] == "model_not_found"


def test_a_waiting_request_is_answered_as_soon_as_the_job_ends(api, start_worker, monkeypatch):
    monkeypatch.setattr(connections, "LOOK_ANYWAY_SECONDS", 1e6)  # without the message nobody would look
    start_worker()
    wait_until(lambda: api.get("/readyz").status_code == 200)
    job = submit(api, "sleep 1")
    assert api.get(f"{job}?wait=60").json()["status"] == "succeeded"


def test_a_wait_shorter_than_the_job_answers_in_time(api):
    job = submit(api, "hello")
    began = time.monotonic()
    assert api.get(f"{job}?wait=0.5").json()["status"] == "queued"
    assert time.monotonic() - began > 0.4


def test_a_hundred_waiting_requests_do_not_hold_up_others(start_api, by_hand):
    job = by_hand().send_one(ANONYMOUS.name)
    url = start_api()
    with (
        httpx.Client(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=None)) as api,
        concurrent.futures.ThreadPoolExecutor(100) as pool,
    ):
        waiting = [pool.submit(api.get, f"/v1/jobs/{job.id}", params={"wait": 60}) for _ in range(100)]
        wait_until(lambda: being_answered(url) == 100)
        assert api.get("/livez").status_code == 200
        assert api.get(f"/v1/jobs/{job.id}").json()["status"] == "queued"
        assert not any(each.done() for each in waiting)
        api.post(f"/v1/jobs/{job.id}/cancel")
        assert {each.result().json()["status"] for each in waiting} == {"cancelled"}


def test_progress_is_seen_while_the_job_runs(api, start_worker):
    start_worker()
    job = submit(api, "sleep 2")
    wait_until(lambda: api.get(job).json()["status"] == "running")
    wait_until(lambda: api.get(job).json()["progress"]["phase"] == "computing")
    assert api.get(job).json()["progress"] == {"phase": "computing", "done": 1, "total": 2, "unit": "maps"}


def test_readiness_follows_the_workers(api, start_worker):
    assert api.get("/readyz").status_code == 503
    worker = start_worker()
    wait_until(lambda: api.get("/readyz").status_code == 200)
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert api.get("/readyz").status_code == 503


def test_a_container_s_check_sees_this_machine_s_worker(redis, start_worker):
    assert not alive(redis, "lig")
    worker = start_worker()
    wait_until(lambda: alive(redis, "lig"))
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert not alive(redis, "lig")


def test_a_terminated_worker_finishes_its_job_first(api, start_worker):
    worker = start_worker()
    job = submit(api, "sleep 1.5")
    wait_until(lambda: api.get(job).json()["status"] != "queued")
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert api.get(job).json()["status"] == "succeeded"


def test_a_killed_worker_s_job_is_run_again_by_another(api, start_worker, tmp_path):
    worker = start_worker(lease=2)
    job = submit(api, "first 60")
    wait_until(lambda: runs(tmp_path))
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    start_worker(lease=2)
    assert ended(api, job)["status"] == "succeeded"
    assert runs(tmp_path) == ["first 60"] * 2


def test_a_job_twice_as_long_as_the_lease_is_run_once(api, start_worker, tmp_path):
    start_worker(lease=4)
    start_worker(lease=4)
    job = submit(api, "sleep 8")
    assert ended(api, job)["status"] == "succeeded"
    assert runs(tmp_path) == ["sleep 8"]


def test_a_job_over_its_time_fails_with_what_to_do(redis_url, work_off):
    settings = Settings(job_timeout=1)
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as api:
        job = submit(api, "sleep 60")
        work_off()
        problem = api.get(job).json()["problem"]
    assert problem["code"] == "job_timed_out"
    assert "fewer layers" in problem["detail"]


@pytest.mark.parametrize("function", ["tests.scripted.planted.leave_mark", "worker.main.main", TASKS["explain"]])
def test_a_planted_job_does_not_run(redis, work_off, tmp_path, monkeypatch, function):
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "mark"))
    queue = Queue("lig", connection=redis, serializer="json")
    planted = queue.enqueue(function, {}, on_failure=Callback("tests.scripted.planted.leave_mark"))
    redis.zadd(names.key("waiting", "lig"), {planted.id: 0})
    work_off()
    assert not (tmp_path / "mark").exists()
    assert not redis.exists(planted.key)


@pytest.mark.parametrize("task", ["tests.scripted.planted.leave_mark", "worker.main.main", "lig_core.cli.main"])
def test_a_callable_planted_into_an_accepted_job_does_not_run(api, redis, work_off, tmp_path, monkeypatch, task):
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "mark"))
    job = submit(api, "hello")
    (key,) = redis.keys("rq:job:*")
    redis.hset(
        key,
        mapping={
            "data": json.dumps([task, None, [{}], {}]),
            "failure_callback_name": "tests.scripted.planted.leave_mark",
        },
    )
    work_off()
    assert redis.hget(key, "status") == b"failed"
    assert json.loads(redis.hget(key, Field.ERROR))["code"] == "job_not_allowed"
    assert not (tmp_path / "mark").exists()
    assert job


def test_the_planted_callable_would_run_in_a_stock_worker(redis, tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "mark"))
    queue = Queue("lig", connection=redis, serializer="json")
    queue.enqueue("tests.scripted.planted.leave_mark", {})
    SimpleWorker([queue], connection=redis, serializer="json").work(burst=True, logging_level="ERROR")
    assert (tmp_path / "mark").exists()


def test_nothing_the_api_stores_is_pickled(api, redis):
    submit(api, "hello")
    values = [redis.hgetall(key) for key in redis.keys("rq:job:*")]
    assert values and not any(value.startswith(b"\x80") for stored in values for value in stored.values())


def test_an_expired_result_is_410(api, work_off, redis):
    job = submit(api, "hello")
    work_off()
    redis.delete(*redis.keys(names.key("blob", "lig", "*")))
    response = api.get(f"{job}/result")
    assert response.status_code == 410
    assert "send the request again" in response.json()["detail"]


def test_jobs_and_results_expire(api, work_off, redis):
    for text in ("hello", "fail"):
        submit(api, text)
    work_off()
    assert all(redis.ttl(key) > 0 for key in redis.keys("rq:job:*") + redis.keys(names.key("blob", "lig", "*")))


@pytest.fixture
def silent_redis(tmp_path):
    """A Redis that takes connections and never answers."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(16)
        yield f"unix://{tmp_path}/s"


@pytest.fixture(params=["absent", "silent"])
def dead_redis(request, tmp_path, silent_redis):
    return silent_redis if request.param == "silent" else f"unix://{tmp_path}/nothing"


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/explain"), ("GET", "/v1/jobs/x"), ("GET", "/readyz")])
def test_without_redis_the_answer_is_a_prompt_503(dead_redis, method, path):
    settings = Settings(redis_timeout=0.3)
    with TestClient(create_app(settings, RqJobStore(dead_redis, settings))) as api:
        body = {"text": "hi", "model": "minilm"} if method == "POST" else None
        began = time.monotonic()
        response = api.request(method, path, json=body)
        took = time.monotonic() - began
        assert response.status_code == 503
        assert response.json()["code"] == "store_unavailable"
        assert dead_redis.removeprefix("unix://") not in response.text
        assert took < 20  # not what a client waits at most
        assert api.get("/livez").status_code == 200


def test_a_running_worker_notices_that_a_model_s_folder_changed(redis_url, redis, start_worker, tmp_path):
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    config = {"model_type": "bert", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer_config.json").write_text("{}")
    settings = Settings(models_folder=folder.parent)
    start_worker(LIG_MODELS_FOLDER=str(folder.parent))
    loads = []
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as api:
        for weights in (b"old", None, b"other", None):
            if weights:
                (folder / "model.safetensors").write_bytes(weights)
            job = submit(api, "hello", model="mine")
            assert ended(api, job)["status"] == "succeeded"
            loads.append(int(redis.hget(names.key("counters", "lig"), "model_loads")))
    assert loads == [1, 1, 2, 2]
