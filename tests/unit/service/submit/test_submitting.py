"""POST /explain and /explain/batch: headers, answers, and what is handed to the store."""

import contextlib
import math
from dataclasses import replace

import anyio
import pytest
from fastapi.testclient import TestClient

from lig_core.serving.queue.job_errors import QueueFull, QuotaExceeded
from service.app import create_app
from service.jobs.job import Load
from service.keys.keyring import Caller
from service.settings import Settings
from service.submit.headers import wait_seconds
from service.submit.intake import limits
from service.submit.pace import Pace
from tests.support.closeness import assert_close

BODY = {"text": "The cat sat.", "model": "minilm"}


def post(api, body=BODY, path="/v1/explain", **headers):
    return api.post(path, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def batch(api, texts, options=None, key=None):
    body = {"texts": texts, "options": {"model": "minilm"} | (options or {})}
    return post(api, body, "/v1/explain/batch", **({"Idempotency-Key": key} if key else {}))


class Watch:
    def notify(self):
        pass


class Finishing(Watch):
    """A watch that sees the job end."""

    def __init__(self, jobs, job):
        self.jobs, self.job = jobs, job

    async def changed(self, seconds):
        await anyio.to_thread.run_sync(self.jobs.finish, self.job.id, {"text": self.job.request.text})


class Patient(Watch):
    """A watch that sees nothing and takes its time."""

    async def changed(self, seconds):
        await anyio.sleep(seconds)


def test_accepted_work_says_where_it_is_and_when_to_look(api):
    answer = post(api)
    assert answer.status_code == 202
    assert answer.headers["location"] == answer.json()["links"]["self"]
    assert int(answer.headers["retry-after"]) >= 1
    assert "preference-applied" not in answer.headers


def test_a_stored_result_is_answered_at_once_with_or_without_prefer(api, jobs):
    post(api)
    jobs.finish(jobs.only().id, {"text": BODY["text"]})
    for headers in ({}, {"Prefer": "wait=5"}):
        answer = post(api, **headers)
        assert answer.status_code == 200
        assert answer.json()["result"]["text"] == BODY["text"]
        assert answer.json() == api.get(answer.headers["location"]).json()


def test_a_preferred_wait_answers_as_soon_as_the_job_ends(api, jobs, monkeypatch):
    monkeypatch.setattr(jobs, "watch", lambda job, *, end: contextlib.nullcontext(Finishing(jobs, job)))
    answer = post(api, Prefer="respond-async, wait=30")
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.json()["result"]["text"] == BODY["text"]


def test_a_wait_that_is_over_is_202_and_longer_waits_are_cut(jobs, monkeypatch):
    monkeypatch.setattr(jobs, "watch", lambda job, *, end: contextlib.nullcontext(Patient()))
    with TestClient(create_app(Settings(max_wait=1.5), jobs)) as api:
        answer = post(api, Prefer="wait=600")
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["wait=10"], 10),
        (["respond-async", 'foo; bar="x", Wait = "7"; quiet'], 7),
        (["wait=1, wait=2"], 1),
        (["wait=soon"], None),
        (["wait=-1"], None),
        (["wait"], None),
        ([], None),
    ],
)
def test_prefer_is_read_as_the_rfc_says(headers, seconds):
    assert wait_seconds(headers) == seconds


@pytest.mark.parametrize("value", ["no-cache", "max-age=0, No-Cache"])
def test_no_cache_asks_for_a_new_run(api, jobs, value):
    post(api)
    post(api, Cache_Control=value)
    assert [submission.fresh for submission in jobs.submissions] == [False, True]


def test_an_idempotency_key_comes_with_a_digest_of_the_body_whatever_its_spelling(api, jobs):
    post(api, Idempotency_Key="k")
    first = jobs.idempotency
    api.post(
        "/explain",
        content=b'{ "model": "minilm",\n "text": "The cat sat." }',
        headers={"Idempotency-Key": "k", "Content-Type": "application/json"},
    )
    assert jobs.idempotency == first
    post(api, BODY | {"rtol": 0.01}, Idempotency_Key="k")
    assert jobs.idempotency != first
    assert jobs.idempotency[0] == "k"


def test_a_replay_says_so(api, jobs):
    assert "idempotent-replayed" not in post(api, Idempotency_Key="k").headers
    assert post(api, Idempotency_Key="k").headers["idempotent-replayed"] == "true"
    first, again = (batch(api, ["a"], key="b").headers for _ in range(2))
    assert ("idempotent-replayed" in first, again["idempotent-replayed"]) == (False, "true")


@pytest.mark.parametrize("key", ["", "x" * 256, "käse", "tab\there"])
def test_an_idempotency_key_that_cannot_be_one_is_refused(api, jobs, key):
    answer = api.post("/v1/explain", json=BODY, headers=[("Idempotency-Key", key.encode())])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/header/idempotency-key"
    assert not jobs.submissions


def test_two_idempotency_keys_are_refused(api):
    answer = api.post("/v1/explain", json=BODY, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert answer.status_code == 422


@pytest.mark.parametrize(("error", "status"), [(QueueFull, 503), (QuotaExceeded, 429)])
@pytest.mark.parametrize("path", ["/v1/explain", "/v1/explain/batch"])
def test_work_that_is_refused_says_when_to_come_back(api, jobs, path, error, status):
    jobs.failure = error("come back later", retry_after=6.2)
    answer = post(api, BODY if path.endswith("explain") else {"texts": ["a"], "options": {"model": "minilm"}}, path)
    assert answer.status_code == status
    assert answer.headers["retry-after"] == "7"
    assert answer.json()["retryable"]


def test_the_cost_is_the_estimate_at_the_measured_rate(api, jobs):
    post(api)
    assert_close(jobs.submissions[0].cost, api.post("/v1/explain/estimate", json=BODY).json()["seconds"], 1e-9)
    jobs.measure(4.0)
    with TestClient(create_app(Settings(), jobs)) as slower:
        post(slower)
    first, second = jobs.submissions
    assert_close(second.cost, 4 * first.cost, 1e-9)
    assert_close([second.work, first.work], [first.cost] * 2, 1e-9)


def test_a_key_s_rate_is_by_the_minute(jobs):
    found = limits(Caller("a", frozenset(), rate=30.0, concurrency=4))
    assert (found.rate, found.concurrency, found.rate * found.burst) == (0.5, 4, 30.0)
    assert limits(Caller("a", frozenset())).rate is None


def test_what_is_ahead_of_a_job_counts_by_its_place(api, jobs, monkeypatch):
    load = Load(waiting=10, backlog=100.0, limit=600.0, workers=2)
    monkeypatch.setattr(jobs, "load", lambda: load)
    post(api)
    half_way = replace(jobs.only(), queue_position=5, cost=3.0)
    assert_close(Pace(jobs).seconds_until_done(half_way), 28.0, 1e-9)


def test_while_one_request_reads_the_load_again_others_take_what_was_read(jobs, monkeypatch):
    monkeypatch.setattr("service.submit.pace.LOAD_SECONDS", 600.0)
    old, new = (Load(waiting=10, backlog=backlog, limit=600.0, workers=2) for backlog in (100.0, 60.0))
    pace, meanwhile = Pace(jobs), []
    monkeypatch.setattr(jobs, "load", lambda: old)
    assert_close(pace.queue_seconds(), 50.0, 1e-9)

    def read_again():
        meanwhile.append(pace.queue_seconds())
        return new

    monkeypatch.setattr(jobs, "load", read_again)
    pace._read = (-math.inf, old)
    assert_close(pace.queue_seconds(), 30.0, 1e-9)
    assert_close(meanwhile, [50.0], 1e-9)


def test_a_batch_is_one_group_in_the_order_of_its_texts(api, jobs):
    answer = batch(api, ["one", "two", "three"], {"priority": "bulk"})
    assert answer.status_code == 202
    group = answer.json()["group"]
    assert answer.headers["location"] == f"/v1/jobs?group={group}"
    assert {job.group for job in jobs.list("anonymous", limit=9).jobs} == {group}
    assert len(answer.json()["jobs"]) == 3
    assert [submission.request.text for submission in jobs.submissions] == ["one", "two", "three"]
    assert {submission.request.priority for submission in jobs.submissions} == {"bulk"}


@pytest.mark.parametrize(
    ("texts", "options", "pointers"),
    [
        (["good", " ", "good", ""], {}, ["/texts/1", "/texts/3"]),
        (["good", "word " * 600], {}, ["/texts/1"]),
        (["good", "fine"], {"layers": [77]}, ["/options/layers"]),
        (["good"], {"rtol": 9}, ["/options/rtol"]),
        (["good"], {"nonsense": 1}, ["/options/nonsense"]),
        (["good"], {"text": "again"}, ["/options/text"]),
        (["good"], {"tokens": ["again"]}, ["/options/tokens"]),
        (["good"], {"model": "../x"}, ["/options/model"]),
        (["a long enough text", "x"], {"target_tokens": [4]}, ["/options/target_tokens"]),
        ([], {}, ["/texts"]),
        (["good", 3], {}, ["/texts/1"]),
    ],
)
def test_a_batch_with_a_fault_queues_nothing_and_points_at_it(api, jobs, texts, options, pointers):
    answer = batch(api, texts, options)
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == pointers
    assert not jobs.submissions


def test_of_a_batch_full_of_faults_the_first_ones_are_told(api):
    answer = batch(api, [" "] * 100)
    assert len(answer.json()["errors"]) == 20
    assert "and 80 more" in answer.json()["detail"]


def test_a_batch_that_is_too_large_says_how_many_texts_may_come(jobs):
    with TestClient(create_app(Settings(max_batch=2), jobs)) as api:
        answer = batch(api, ["a"] * 3)
    assert answer.status_code == 422
    assert "at most 2" in answer.json()["detail"]


def test_a_batch_of_a_model_that_is_not_here_says_so_once(api):
    answer = batch(api, ["a", "b"], {"model": "nobody/nothing"})
    assert (answer.status_code, answer.json()["code"]) == (422, "model_not_found")
