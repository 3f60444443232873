"""Jobs survive what happens to workers: deaths, freezes, cancelling, deadlines, draining."""

import json
import signal
import time

import psutil
import pytest

from lig_core.serving.queue import names
from lig_core.serving.queue.moves import Done, Moves, Part, Place, Run
from lig_core.serving.queue.upkeep import give_back_popped, take_over
from tests.running.processes import child_of
from tests.running.submitting import runs, submit
from tests.running.waiting import PATIENCE, ended, wait_until

LEASE = 60  # longer than anything here takes


def status(api, job):
    return api.get(job).json()["status"]


def test_models_stay_loaded_from_job_to_job(api, start_worker):
    start_worker()
    shown = [ended(api, submit(api, "hello")) for _ in range(3)]
    assert len({job["result"]["process"] for job in shown}) == 1


def test_a_crash_costs_a_moment_and_no_job(api, start_worker, tmp_path):
    worker = start_worker(lease=LEASE)
    job = submit(api, "first 60")
    wait_until(lambda: runs(tmp_path))
    killed = time.monotonic()
    child_of(worker).kill()
    wait_until(lambda: len(runs(tmp_path)) == 2)
    assert time.monotonic() - killed < LEASE  # it need not run out
    shown = ended(api, job)
    assert (shown["status"], shown["attempts"]) == ("succeeded", 2)
    assert worker.poll() is None


def test_a_job_that_always_kills_its_process_becomes_a_dead_letter_and_others_go_on(api, start_worker, redis, tmp_path):
    start_worker()
    poison, good = submit(api, "die"), submit(api, "hello")
    shown = ended(api, poison)
    assert (shown["status"], shown["attempts"]) == ("failed", 3)
    assert shown["problem"]["code"] == "crashed"
    assert "3 attempts" in shown["problem"]["detail"]
    assert ended(api, good)["status"] == "succeeded"
    assert runs(tmp_path).count("die") == 3
    assert redis.zrange(names.key("dead", "lig"), 0, -1) == [computation_of(redis, poison).encode()]


def test_after_one_crash_a_job_is_next_and_after_two_others_go_first(api, start_worker, tmp_path):
    for text in ("die", "one", "two"):
        submit(api, text)
    start_worker()
    wait_until(lambda: len(runs(tmp_path)) == 5)
    assert runs(tmp_path) == ["die", "die", "one", "two", "die"]


def test_the_process_with_the_models_ends_with_its_worker(start_worker):
    worker = start_worker()
    wait_until(lambda: psutil.Process(worker.pid).children())
    child = child_of(worker)
    worker.kill()
    worker.wait()
    wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_frozen_worker_s_job_is_run_by_another_and_its_late_answer_counts_for_nothing(
    api, start_worker, redis, tmp_path
):
    frozen = start_worker(lease=3)
    job = submit(api, "held")
    wait_until(lambda: runs(tmp_path))
    frozen.send_signal(signal.SIGSTOP)  # the process with the models goes on, and answers into the pipe
    try:
        start_worker(lease=3)
        wait_until(lambda: runs(tmp_path) == ["held"] * 2)
        (tmp_path / "runs.1").touch()
        wait_until(lambda: "let go" in runs(tmp_path))
    finally:
        frozen.send_signal(signal.SIGCONT)
    assert ended(api, submit(api, "hello"))["status"] == "succeeded"  # by that worker: it is done with its answer
    (tmp_path / "runs.2").touch()
    shown = ended(api, job)
    assert (shown["status"], shown["attempts"]) == ("succeeded", 2)
    assert api.get(f"{job}/result").json() == shown["result"]
    # Of the loser nothing is kept longer than its ten minutes; the pointers and the long life are the winner's.
    heads = redis.keys(names.key("blob", "lig", f"{computation_of(redis, job)}:*:head"))
    assert sum(redis.ttl(key) > 3600 for key in heads) == 1


def computation_of(redis, job):
    return redis.hget(names.key("job", "lig", job.rsplit("/", 1)[1]), "computation").decode()


def part_of(run, name, index=None):
    return Part(name, names.blob_key("lig", run.computation, run.execution, name), 2, 2, index)


def test_only_one_of_two_attempts_can_finish(api, redis):
    computation, moves = computation_of(redis, submit(api, "hello")), Moves(redis, "lig")
    first, second = Run("lig", computation, "a"), Run("lig", computation, "b")
    assert moves.take() == computation
    assert moves.start(first, "w1", lease=-1)  # over at once
    take_over(redis, "lig", time.time())
    assert moves.take() == computation
    assert moves.start(second, "w2", lease=30)
    for attempt, worth in ((first, False), (second, True)):
        assert moves.renew(attempt, 30) is worth
        assert moves.report(attempt, '{"phase": "computing"}') is worth
        for part in (part_of(attempt, "head"), part_of(attempt, "layer:0", 0)):
            assert moves.add_part(attempt, part, b"{}") is worth
            assert redis.exists(part.ref) == worth
        assert moves.finish(attempt, Done()) is worth
    assert not moves.fail(second.place, computation, {"code": "late"})
    assert json.loads(redis.hget(names.key("computation", "lig", computation), "layer:0"))["ref"].endswith(":b:layer:0")
    # Asked again because the answer was lost, the winner hears that it won.
    assert moves.finish(second, Done())
    assert not moves.finish(first, Done())


def test_a_layer_is_told_once_and_the_first_that_was_stored_stays(api, redis):
    computation, moves = computation_of(redis, submit(api, "hello")), Moves(redis, "lig")
    first, second = Run("lig", computation, "a"), Run("lig", computation, "b")
    moves.take()
    moves.start(first, "w1", lease=-1)
    moves.use_files(first, "files")
    kept = part_of(first, "layer:0", 0)
    assert moves.add_part(first, kept, b"{}") and moves.add_part(first, kept, b"{}")
    take_over(redis, "lig", time.time())
    moves.take()
    assert moves.start(second, "w2", lease=30)
    assert moves.use_files(second, "files") == {0}
    # Asked once more, because the answer was lost, when the lease is another's already: what is pointed at stays.
    assert not moves.add_part(first, kept, b"{}")
    assert redis.ttl(kept.ref) == -1
    again = part_of(second, "layer:0", 0)
    assert moves.add_part(second, again, b"{}")
    assert redis.exists(kept.ref) and not redis.exists(again.ref)
    kinds = [fields[b"kind"] for _, fields in redis.xrange(names.key("events", "lig", computation))]
    assert kinds == [b"queued", b"started", b"layer", b"queued", b"started"]
    assert moves.finish(second, Done())
    assert not moves.add_part(first, kept, b"{}")
    assert redis.ttl(kept.ref) > redis.ttl(names.key("computation", "lig", computation)) > 0


def test_a_taken_job_whose_worker_died_can_be_started_once(api, redis):
    computation, moves = computation_of(redis, submit(api, "hello")), Moves(redis, "lig")
    assert moves.take() == computation
    give_back_popped(redis, "lig", time.time())
    assert moves.take() is None  # not yet
    give_back_popped(redis, "lig", time.time() + 11)
    assert moves.start(Run("lig", computation, "late"), "w1", lease=30) is None
    assert moves.take() == computation


def test_a_renewed_lease_is_not_taken_over(api, redis):
    computation, moves = computation_of(redis, submit(api, "hello")), Moves(redis, "lig")
    run = Run("lig", moves.take(), "a")
    moves.start(run, "w1", lease=30)
    ends = redis.zscore(run.place.key, run.place.member)
    assert not moves.crashed(Place(run.place.key, run.place.member, latest=ends - 0.1), computation)
    assert moves.holds(run)
    assert moves.crashed(Place(run.place.key, run.place.member, latest=ends), computation)
    assert moves.take() == computation


def test_a_retry_computes_only_the_layers_that_are_missing(api, start_worker, tmp_path):
    start_worker()
    shown = ended(api, submit(api, "layers 6 die 2"))
    assert (shown["status"], shown["attempts"]) == ("succeeded", 2)
    layers = [line for line in runs(tmp_path) if line.startswith("layer ")]
    assert layers == [f"layer {n}" for n in range(6)]
    assert list(shown["result"]["layers"]) == [str(n) for n in range(6)]


def test_a_cancelled_waiting_job_never_starts(api, work_off, tmp_path):
    job, other = submit(api, "fail"), submit(api, "hello")
    assert api.post(f"{job}/cancel").status_code == 202
    assert api.post(f"{job}/cancel").status_code == 200
    work_off()
    assert status(api, job) == "cancelled"
    assert status(api, other) == "succeeded"
    assert runs(tmp_path) == ["hello"]
    assert api.get(f"{job}/result").json()["code"] == "job_has_no_result"


@pytest.mark.parametrize(("text", "models_stay"), [("sleep 200", True), ("stubborn 200", False), ("native 200", False)])
def test_a_cancelled_running_job_stops_long_before_its_end(api, start_worker, redis, text, models_stay):
    worker = start_worker()
    job = submit(api, text)
    wait_until(lambda: api.get(job).json()["progress"]["phase"] == "computing")
    child = child_of(worker)
    assert api.post(f"{job}/cancel").json()["cancel_requested"]
    assert status(api, job) == "cancelled"  # the job at once, its computation
    key = names.key("computation", "lig", computation_of(redis, job))
    wait_until(lambda: redis.hget(key, "status") == b"canceled")  # a moment after
    assert ended(api, submit(api, "hello"))["status"] == "succeeded"
    assert child.is_running() is models_stay


def test_cancelling_an_ended_job_is_refused(api, work_off):
    job = submit(api, "hello")
    work_off()
    assert api.post(f"{job}/cancel").json()["code"] == "job_ended"
    assert status(api, job) == "succeeded"


@pytest.mark.parametrize("when", ["waiting", "running", "ended"])
def test_a_deleted_job_leaves_nothing(api, start_worker, redis, tmp_path, when):
    if when != "waiting":
        start_worker()
    job = submit(api, "sleep 200" if when == "running" else "hello")
    if when == "running":
        wait_until(lambda: runs(tmp_path))
    if when == "ended":
        ended(api, job)
    assert api.delete(job).status_code == 204
    assert api.get(job).status_code == 404
    kept = ["rq:workers*", "rq:worker:*", names.RQ_QUEUES]
    kept += [names.key(kind, "lig") for kind in ("flows", "backlog", "counters", "healed", "bell", "rate", "models")]
    wait_until(lambda: not set(redis.keys()).difference(*(redis.keys(pattern) for pattern in kept)))
    assert float(redis.get(names.key("backlog", "lig"))) == 0


@pytest.mark.parametrize("text", ["sleep 200", "native 200"])
def test_a_job_over_its_running_time_fails_though_it_never_comes_back(api_with, start_worker, text):
    api = api_with(job_timeout=1)
    start_worker()
    shown = ended(api, submit(api, text))
    assert (shown["problem"]["code"], shown["attempts"]) == ("job_timed_out", 1)
    assert "after 1 s of running" in shown["problem"]["detail"]


def test_a_job_that_waited_too_long_is_not_started(api_with, work_off, tmp_path):
    api = api_with(queue_timeout=0.1)
    job = submit(api, "hello")
    time.sleep(0.2)
    work_off()
    problem = api.get(job).json()["problem"]
    assert problem["code"] == "job_timed_out"
    assert "waited longer" in problem["detail"]
    assert not (tmp_path / "runs").exists()


def test_a_job_ends_at_its_total_deadline(api_with, start_worker):
    api = api_with(total_timeout=3)
    start_worker()
    wait_until(lambda: api.get("/readyz").status_code == 200)
    shown = ended(api, submit(api, "sleep 200"))
    assert shown["problem"]["code"] == "job_timed_out"
    assert "at its deadline" in shown["problem"]["detail"]


def test_a_terminated_worker_gives_back_a_job_longer_than_its_grace(api, start_worker, redis, tmp_path):
    worker = start_worker(LIG_DRAIN_GRACE="0.5")
    job, waiting = submit(api, "first 60"), submit(api, "hello")
    wait_until(lambda: runs(tmp_path))
    worker.terminate()
    assert worker.wait(PATIENCE) == 0
    assert [status(api, each) for each in (job, waiting)] == ["queued", "queued"]
    assert api.get(job).json()["queue_position"] == 0  # before those who came after it
    start_worker()
    shown = ended(api, job)
    assert (shown["status"], shown["attempts"]) == ("succeeded", 1)  # draining is no fault of the job


def test_a_worker_whose_models_do_not_load_takes_no_job(api, start_worker):
    worker = start_worker(LIG_PRELOAD='["/nowhere"]')
    job = submit(api, "hello")
    assert worker.wait(PATIENCE) == 1
    assert status(api, job) == "queued"
    assert api.get("/readyz").status_code == 503
