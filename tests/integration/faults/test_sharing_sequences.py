"""Jobs that are computed in one sequence end as each would have by itself, whatever happens to one of them."""

import time

import torch
from pydantic import SecretStr

from lig_core.serving.queue import names
from tests.running.processes import child_of
from tests.running.submitting import runs
from tests.running.waiting import PATIENCE, ended, wait_until
from tests.support.closeness import assert_close
from worker.main import work
from worker.settings import Settings


def submit_together(api, *texts, **options):
    """Paths of the jobs of a batch."""
    response = api.post("/v1/explain/batch", json={"texts": texts, "options": {"model": "minilm", **options}})
    assert response.status_code == 202, response.text
    return [f"/v1/jobs/{job['id']}" for job in response.json()["jobs"]]


def state_of(redis, job):
    """Of its computation, in RQ's word."""
    computation = redis.hget(names.key("job", "lig", job.rsplit("/", 1)[1]), "computation").decode()
    return redis.hget(names.key("computation", "lig", computation), "status").decode()


def kinds_of_events(api, job):
    return [line[7:] for line in api.get(f"{job}/events").text.splitlines() if line.startswith("event: ")]


def test_the_numbers_are_those_of_each_alone(api, redis_url):
    texts = ["The cat sat.", "Paris is the capital of France.", "No."]
    options = {"granularity": "layer", "layers": [2], "dtype": "float64"}
    together = submit_together(api, *texts, **options)
    bodies = [{"text": text, "model": "minilm", "labels": True, **options} for text in texts]  # no other's computation
    alone = [api.post("/v1/explain", json=body).headers["location"] for body in bodies]
    work(Settings(redis_url=SecretStr(redis_url)), burst=True)
    for pair in zip(together, alone, strict=True):
        mine, theirs = (ended(api, job)["result"] for job in pair)
        assert mine["tokens"] == theirs["tokens"]
        one, other = (found["layers"]["2"]["z2z"] for found in (mine, theirs))
        assert one["certificate"]["nodes"] == other["certificate"]["nodes"]
        assert_close(*(torch.tensor(found["matrix"]) for found in (one, other)), 1e-12)
    shares = [{ended(api, job)["timings"]["compute"] for job in jobs} for jobs in (together, alone)]
    assert [len(each) for each in shares] == [1, 3]


def test_each_job_has_its_own_result_and_events(api, work_off, tmp_path):
    jobs = submit_together(api, "layers 2", "layers  2", "layers   2")
    work_off()
    assert runs(tmp_path)[0] == "together 3"
    for number, job in enumerate(jobs, 1):
        shown = ended(api, job)
        assert (shown["status"], shown["attempts"]) == ("succeeded", 1)
        assert shown["result"]["text"] == f"layers{number * ' '}2"
        assert list(shown["result"]["layers"]) == ["0", "1"]
        kinds = [kind for kind in kinds_of_events(api, job) if kind != "progress"]
        assert kinds == ["queued", "started", "head", "layer", "layer", "succeeded"]


def test_bulk_jobs_that_ask_alike_are_computed_together_and_others_alone(api, work_off, tmp_path):
    for text, options in (("a", {}), ("b", {}), ("c", {"rtol": 1e-4}), ("d", {"priority": "interactive"})):
        assert api.post("/v1/explain", json={"text": text, "model": "minilm", "priority": "bulk", **options}).is_success
    work_off()
    assert sorted(runs(tmp_path)) == ["a", "b", "c", "d", "together 2"]


def test_one_that_fails_fails_alone(api, work_off, tmp_path):
    jobs = submit_together(api, "one", "fail", "two")
    work_off()
    shown = [ended(api, job) for job in jobs]
    assert [(job["status"], job["attempts"]) for job in shown] == [("succeeded", 1), ("failed", 1), ("succeeded", 1)]
    assert shown[1]["problem"]["code"] == "not_converged"
    assert [job["result"]["text"] for job in (shown[0], shown[2])] == ["one", "two"]
    assert "together 3" in runs(tmp_path)


def test_one_that_is_cancelled_ends_at_once_and_the_others_go_on(api, start_worker, redis, tmp_path):
    worker = start_worker()
    assert ended(api, submit_together(api, "hello")[0])["status"] == "succeeded"
    one, held, other = submit_together(api, "one", "held", "other")
    wait_until(lambda: "held" in runs(tmp_path))
    child = child_of(worker)
    assert api.post(f"{one}/cancel").status_code == 202
    wait_until(lambda: state_of(redis, one) == "canceled")
    assert state_of(redis, held) == "started"
    (tmp_path / "runs.1").touch()
    assert [ended(api, job)["status"] for job in (one, held, other)] == ["cancelled", "succeeded", "succeeded"]
    assert "together 3" in runs(tmp_path)
    assert ended(api, submit_together(api, "hello again")[0])["status"] == "succeeded"
    assert child.is_running()


def test_when_all_are_cancelled_the_process_is_stopped(api, start_worker, redis, tmp_path):
    start_worker()
    jobs = submit_together(api, "sleep 200", "one")
    wait_until(lambda: "sleep 200" in runs(tmp_path))
    for job in jobs:
        api.post(f"{job}/cancel")
    wait_until(lambda: [state_of(redis, job) for job in jobs] == ["canceled"] * 2)
    assert ended(api, submit_together(api, "hello")[0])["status"] == "succeeded"


def test_after_a_crash_each_is_run_again_alone(api, start_worker, tmp_path):
    worker = start_worker()
    jobs = submit_together(api, "one", "first 60", "two")
    wait_until(lambda: "first 60" in runs(tmp_path))
    child_of(worker).kill()
    shown = [ended(api, job) for job in jobs]
    assert [(job["status"], job["attempts"]) for job in shown] == [("succeeded", 2)] * 3
    assert runs(tmp_path) == ["together 3", "one", "first 60", "one", "first 60", "two"]


def test_one_that_always_kills_its_process_costs_the_others_one_attempt(api, start_worker, tmp_path):
    start_worker()
    jobs = submit_together(api, "one", "die", "two", "three")
    shown = [ended(api, job) for job in jobs]
    assert [(job["status"], job["attempts"]) for job in shown] == [
        ("succeeded", 2),
        ("failed", 3),
        ("succeeded", 2),
        ("succeeded", 2),
    ]
    assert shown[1]["problem"]["code"] == "crashed"
    assert runs(tmp_path).count("together 4") == 1


def test_where_a_crash_is_a_job_s_end_each_is_run_alone(api_with, start_worker, tmp_path):
    api = api_with(crash_retries=0)
    start_worker()
    jobs = submit_together(api, "die", "one")
    assert [ended(api, job)["status"] for job in jobs] == ["failed", "succeeded"]
    assert runs(tmp_path) == ["die", "one"]


def test_one_that_holds_the_others_up_costs_none_of_them_their_time(api_with, start_worker, tmp_path):
    api = api_with(job_timeout=1)
    start_worker()
    one, held, other = submit_together(api, "one", "native 200", "two")
    assert [ended(api, job)["status"] for job in (one, held, other)] == ["succeeded", "failed", "succeeded"]
    assert ended(api, held)["problem"]["code"] == "job_timed_out"
    assert runs(tmp_path) == ["together 3", "one", "native 200", "one", "native 200", "two"]


def test_the_layers_of_an_attempt_together_are_kept_for_the_next(api, start_worker, tmp_path):
    start_worker()
    jobs = submit_together(api, "layers 3", "layers 3 die 1")
    assert [ended(api, job)["status"] for job in jobs] == ["succeeded"] * 2
    lines = [line for line in runs(tmp_path) if line.startswith("layer ")]
    # One layer of both was stored, and one of the first was computed and lost, when the other killed the process.
    assert lines == ["layer 0", "layer 0", "layer 1", "layer 1", "layer 2", "layer 1", "layer 2"]


def test_a_worker_that_is_told_to_stop_gives_all_of_them_back(api, start_worker, tmp_path):
    worker = start_worker(LIG_DRAIN_GRACE="0.5")
    jobs = submit_together(api, "one", "first 60", "two")
    wait_until(lambda: "first 60" in runs(tmp_path))
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert {api.get(job).json()["status"] for job in jobs} == {"queued"}
    start_worker()
    assert [ended(api, job)["attempts"] for job in jobs] == [1, 1, 1]


def test_leases_of_all_are_renewed_and_end_with_their_worker(api, start_worker, redis, tmp_path):
    worker = start_worker(lease=2)
    jobs = submit_together(api, "one", "first 60", "two")
    wait_until(lambda: "first 60" in runs(tmp_path))
    time.sleep(2.5)  # longer than a lease
    assert [state_of(redis, job) for job in jobs] == ["started"] * 3
    worker.kill()
    start_worker(lease=2)
    assert [(ended(api, job)["status"], ended(api, job)["attempts"]) for job in jobs] == [("succeeded", 2)] * 3
