"""What a worker and its process with the models say of jobs."""

import json

import pytest

from lig_core.serving.queue import names
from tests.running.by_hand import asked
from tests.running.waiting import wait_until

TRACES = {word: f"{number:032x}" for number, word in enumerate(("hello", "break", "die"), start=1)}
TAKEN_OVER = "its worker gave no sign of life, so the job was taken over"


@pytest.fixture
def heard(capfd):
    """Lines of a worker, once there are as many that say this."""
    text = []

    def wait_for(message, count):
        def lines():
            text.append(capfd.readouterr().err)
            found = [json.loads(line) for line in "".join(text).splitlines() if line.startswith("{")]
            return found if [line["message"] for line in found].count(message) >= count else None

        return wait_until(lines)

    return wait_for


def submit(api, redis, text):
    """The computation of a job, with a trace of its own."""
    headers = {"traceparent": f"00-{TRACES[text]}-{1:016x}-01"}
    job = api.post("/v1/explain", json={"text": text, "model": "minilm"}, headers=headers).json()
    return redis.hget(names.key("job", "lig", job["id"]), "computation").decode()


def test_every_line_about_a_job_carries_its_id_and_its_trace(api, redis, start_worker, heard):
    computations = {text: submit(api, redis, text) for text in TRACES}
    start_worker()
    lines = heard("job ended", 5)
    for text, computation in computations.items():
        own = [line for line in lines if line.get("job_id") == computation]
        assert {line["trace_id"] for line in own} == {TRACES[text]}
    assert [line for line in lines if "job_id" not in line and "trace_id" in line] == []

    def told(message, text):
        return [line for line in lines if line["message"] == message and line["job_id"] == computations[text]]

    for text, statuses in {"hello": ["succeeded"], "break": ["failed"], "die": ["crashed"] * 3}.items():
        ends = told("job ended", text)
        assert [(line["status"], line["attempt"]) for line in ends] == list(zip(statuses, range(1, 4), strict=False))
        assert all(line["model"] == "minilm" and 0 <= line["seconds"] < 60 for line in ends)
        assert [line["attempt"] for line in told("job started", text)] == [line["attempt"] for line in ends]
    (fault,) = told("failed", "break")
    assert (fault["logger"], fault["level"]) == ("worker.compute.explainer", "error")
    assert "a secret" in fault["exception"]


def test_a_job_taken_over_while_another_runs_is_told_under_its_own_id(by_hand, start_worker, heard):
    b = by_hand()
    lost = b.send_one("ada", asked("hello"))
    run = b.start()
    b.send_one("ada", asked("sleep 200", traceparent=f"00-{1:032x}-{1:016x}-00"))
    start_worker(lease=2)
    heard("job started", 1)
    b.redis.zadd(run.place.key, {run.place.member: 0})
    taken_over = [line for line in heard(TAKEN_OVER, 1) if line["message"] == TAKEN_OVER]
    (line,) = (line for line in taken_over if line["job_id"] == lost.computation)
    assert "trace_id" not in line
    assert "attempt" not in line


def test_the_trace_is_that_of_the_job_that_made_the_computation(by_hand):
    b = by_hand()
    first, second = (f"00-{number:032x}-{1:016x}-00" for number in (1, 2))
    one = b.send_one("ada", asked("same", traceparent=first))
    two = b.send_one("bob", asked("same", traceparent=second))
    started = b.moves.start(b.run(b.take()), "by hand", 30)
    assert started.about == {"job_id": one.computation, "trace_id": f"{1:032x}", "attempt": 1}
    assert (b.store.get("ada", one.id).traceparent, b.store.get("bob", two.id).traceparent) == (first, second)


def test_a_computation_without_a_trace_is_told_without_one(by_hand):
    b = by_hand()
    job = b.send_one("ada")
    started = b.moves.start(b.run(b.take()), "by hand", 30)
    assert started.about == {"job_id": job.computation, "trace_id": None, "attempt": 1}
