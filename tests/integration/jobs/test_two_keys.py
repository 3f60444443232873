"""Two keys at one service: to each, the other's jobs are as if they had never been, by every route there is."""

import functools
import json
import re

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from lig_core.serving.queue import names
from service.app import create_app
from service.jobs.redis_rows import as_cursor
from service.jobs.redis_store import RqJobStore
from service.keys.keyring import new_key
from service.settings import Settings
from tests.running.asking import (
    ABOUT_A_JOB,
    Ask,
    answer_about,
    jobs_in_every_state,
    never,
    routes,
    versions,
    ways_to_ask,
)
from tests.running.by_hand import asked
from tests.support.made_results import made_head, made_result

ADA, BOB = "ada-lovelace", "bob-dylan"
BODY = {"text": "The cat sat.", "model": "minilm", "granularity": "layer"}
SENTENCES = {"model": "minilm", "sentences": [{"text": "Go"}], "layers": [1]}
TESTED_BY_THEMSELVES = {("GET", "/jobs"), ("POST", "/explain"), ("POST", "/explain/batch"), ("POST", "/experiments")}
KNOW_NO_JOB = {
    ("GET", "/models"): {},
    ("GET", "/models/{model:path}/boundaries"): {},
    ("POST", "/explain/estimate"): {"json": BODY},
    ("GET", "/metrics"): {},
}

NAME_A_JOB = {"job_id", "a", "b"}
NAME_A_PLACE = {"cursor", "group", "after", "Last-Event-ID", "Idempotency-Key"}
NAME_NOTHING = {"wait", "embed", "limit", "status", "layers", "maps", "targets", "heads", "top_k", "model"} | {
    "composed",
    "difference",
    "Prefer",
    "Cache-Control",
    *("map", "source", "target", "top", "normalised_by", "self_term", "graph", "least"),
}


@pytest.fixture
def made():
    return {name: new_key(name, ["explain", "read", "metrics"]) for name in (ADA, BOB)}


@pytest.fixture
def settings(made):
    entries = json.dumps([entry.model_dump(mode="json") for _, entry in made.values()])
    return Settings(keys=SecretStr(entries))


@pytest.fixture
def api(redis_url, settings):
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as client:
        yield client


@pytest.fixture
def call(api, made):
    """Sends a request with somebody's key."""

    def send(who, method, path, *, headers=None, **request):
        headers = {"Authorization": f"Bearer {made[who][0]}", "X-Request-Id": "the-same", **(headers or {})}
        return api.request(method, path, headers=headers, **request)

    return send


@pytest.fixture
def ask(call):
    """What somebody gets who asks about a job: all of it, but for the job's id."""

    def send(who, method, path, how, job_id, own):
        return answer_about(functools.partial(call, who), method, path, how, job_id, own)

    return send


def test_it_is_decided_here_of_every_route_and_parameter_what_it_may_tell(api):
    known = {*ABOUT_A_JOB, *TESTED_BY_THEMSELVES, *KNOW_NO_JOB}
    there = {(method, re.sub("^/v1", "", path)) for method, path in routes(api.app)}
    assert there == known, "a new route: decide above what a key may see through it of another's jobs"
    asked = {(method, path) for method, path, _ in ways_to_ask()}
    assert asked >= {(method, place) for method, path in ABOUT_A_JOB for place in versions(path)}
    taken = {
        parameter["name"]
        for path in api.app.openapi()["paths"].values()
        for operation in path.values()
        for parameter in operation.get("parameters", ())
    }
    assert taken == NAME_A_JOB | NAME_A_PLACE | NAME_NOTHING, "a new parameter: does it name a job, or a place?"


@pytest.mark.slow
@pytest.mark.parametrize(("owner", "other"), [(ADA, BOB), (BOB, ADA)])
def test_another_key_s_job_is_like_one_that_never_was_in_every_state_by_every_route(ask, call, by_hand, owner, other):
    b = by_hand()
    own = jobs_in_every_state(b, other)["own"].id
    for state, job in jobs_in_every_state(b, owner).items():
        before = call(owner, "GET", f"/v1/jobs/{job.id}")
        for way in ways_to_ask():
            got = ask(other, *way, job.id, own)
            assert got == ask(other, *way, never(), own), (state, way)
            assert got[0] >= 400, (state, way)
        after = call(owner, "GET", f"/v1/jobs/{job.id}")
        assert (before.status_code, before.content) == (after.status_code, after.content), state


def test_its_owner_is_answered_by_all_of_them(ask, by_hand):
    jobs = jobs_in_every_state(by_hand(), ADA)
    for (method, path), ways in ABOUT_A_JOB.items():
        for how in ways:
            for place in versions(path)[: 1 if method == "DELETE" else 2]:
                got = ask(ADA, method, place, how, jobs["succeeded"].id, jobs["own"].id)
                assert got != ask(ADA, method, place, how, never(), jobs["own"].id), (method, place, how)
    stands = {state: ask(ADA, "GET", "/jobs/{job_id}", Ask(), job.id, "")[0] for state, job in jobs.items()}
    gone = {"succeeded": 404, "forgotten": 404, "expired": 410}  # the first was just deleted
    assert stands == {state: gone.get(state, 200) for state in jobs}


@pytest.mark.parametrize("authorization", [None, "Bearer lig_000000000000_wrong"])
def test_without_a_key_every_route_but_the_open_ones_is_401_whatever_it_names(api, by_hand, authorization):
    b = by_hand()
    jobs = [job.id for job in jobs_in_every_state(b, ADA).values()]
    headers = {"X-Request-Id": "the-same", **({"Authorization": authorization} if authorization else {})}
    for method, path in routes(api.app):
        for job_id in jobs if path.startswith(("/jobs/", "/v1/jobs/")) or "diff" in path else [never()]:
            place = f"{path.replace('{job_id}', job_id)}?a={job_id}&b={job_id}"
            answer = api.request(method, place, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), (method, path)
            assert job_id not in answer.text.replace(place.partition("?")[0], "")


def test_routes_that_know_no_job_tell_of_none(call, by_hand):
    b = by_hand()
    jobs = jobs_in_every_state(b, ADA)
    for (method, path), request in KNOW_NO_JOB.items():
        answer = call(BOB, method, path.replace("{model:path}", "minilm"), **request)
        assert answer.status_code == 200, (method, path)
        for secret in (ADA, *(job.id for job in jobs.values()), *(job.computation for job in jobs.values())):
            assert secret not in answer.text, (method, path)


@pytest.mark.parametrize(("owner", "other"), [(ADA, BOB), (BOB, ADA)])
def test_lists_groups_and_cursors_lead_to_one_s_own_jobs_alone(call, by_hand, owner, other):
    b = by_hand()
    mine = [b.send_one(other).id]
    theirs = b.send(owner, asked(), asked(), asked(), group=True)
    mine.append(b.send_one(other).id)

    def listed(who, **params):
        return call(who, "GET", "/v1/jobs", params=params)

    def ids(answer):
        return [job["id"] for job in answer.json()["jobs"]]

    assert ids(listed(other)) == ids(listed(other, status="queued")) == mine[::-1]
    assert ids(listed(owner)) == ids(listed(owner, group=theirs.group))
    assert {*ids(listed(owner))} == {job.id for job in theirs.jobs}
    for group in (theirs.group, f"{owner}:{theirs.group}"):
        assert listed(other, group=group).content == listed(other, group="none").content
    page = listed(owner, limit=1)
    at = b.redis.zscore(names.key("jobs", "lig", owner), ids(page)[0])
    cursor = page.json()["next"]
    assert cursor == as_cursor((at, ids(page)[0]))
    for more in ({}, {"group": theirs.group}):
        got = listed(other, cursor=cursor, **more)
        assert got.content == listed(other, cursor=as_cursor((at, never())), **more).content
        assert ids(got) == ([] if more else mine[:1])


def test_equal_idempotency_keys_of_two_keys_are_two(call):
    key = {"Idempotency-Key": "k-1"}
    first = call(ADA, "POST", "/v1/explain", json=BODY, headers=key)
    same = call(BOB, "POST", "/v1/explain", json=BODY, headers=key)
    replayed = call(ADA, "POST", "/v1/explain", json=BODY, headers=key)
    assert [answer.status_code for answer in (first, same, replayed)] == [202] * 3
    assert replayed.json()["id"] == first.json()["id"] != same.json()["id"]
    assert "idempotent-replayed" in replayed.headers
    assert "idempotent-replayed" not in same.headers
    other = {"texts": ["another text"], "options": {"model": "minilm"}}
    call(ADA, "POST", "/v1/explain/batch", json=other, headers={"Idempotency-Key": "k-2"})
    assert call(BOB, "POST", "/v1/explain", json=BODY, headers={"Idempotency-Key": "k-2"}).status_code == 202
    assert call(BOB, "POST", "/v1/explain/batch", json=other, headers={"Idempotency-Key": "k-2"}).status_code == 422
    measured = [
        call(who, "POST", "/v1/experiments", json=SENTENCES, headers={"Idempotency-Key": "k-3"}) for who in (ADA, BOB)
    ]
    assert [answer.status_code for answer in measured] == [202] * 2
    assert measured[0].json()["id"] != measured[1].json()["id"]
    assert call(ADA, "POST", "/v1/explain", json=BODY, headers={"Idempotency-Key": "k-3"}).status_code == 422


@pytest.mark.parametrize("leaves", [ADA, BOB], ids=["the first leaves", "the second leaves"])
@pytest.mark.parametrize("running", [False, True], ids=["queued", "running"])
@pytest.mark.parametrize("how", ["cancel", "delete"])
def test_two_keys_share_the_work_and_nothing_else(call, ask, by_hand, redis, leaves, running, how):
    b = by_hand()
    job = {who: call(who, "POST", "/v1/explain", json=BODY).json()["id"] for who in (ADA, BOB)}
    stays = BOB if leaves == ADA else ADA
    assert job[ADA] != job[BOB]
    assert redis.zcard(names.key("waiting", "lig")) == 1
    assert len({b.store.get(None, job_id).computation for job_id in job.values()}) == 1
    if running:
        run = b.start()
    for who, other in ((ADA, BOB), (BOB, ADA)):
        assert [found["id"] for found in call(who, "GET", "/v1/jobs").json()["jobs"]] == [job[who]]
        for (method, path), (first, *_) in ABOUT_A_JOB.items():
            got = ask(who, method, path, first, job[other], job[who])
            assert got == ask(who, method, path, first, never(), job[who]), (method, path)
    method, path = ("POST", "/cancel") if how == "cancel" else ("DELETE", "")
    left = call(leaves, method, f"/v1/jobs/{job[leaves]}{path}")
    assert left.status_code == (202 if how == "cancel" else 204)
    assert call(stays, "GET", f"/v1/jobs/{job[stays]}").json()["status"] == ("running" if running else "queued")
    if not running:
        run = b.start()
    b.finish_with(run, made_result())
    got = call(stays, "GET", f"/v1/jobs/{job[stays]}/result")
    assert (got.status_code, got.json()["tokens"]) == (200, list(made_head()["tokens"]))
    assert call(leaves, "GET", f"/v1/jobs/{job[leaves]}/result").status_code == (409 if how == "cancel" else 404)
    told = call(stays, "GET", f"/v1/jobs/{job[stays]}/events").text
    assert "event: succeeded" in told and "event: cancelled" not in told
    shown = call(stays, "GET", f"/v1/jobs/{job[stays]}").text
    for other in (job[leaves], leaves):
        assert other not in told + shown + got.text
    if how == "cancel":
        told = call(leaves, "GET", f"/v1/jobs/{job[leaves]}/events").text
        assert "event: cancelled" in told and "event: layer" not in told
        assert call(leaves, "DELETE", f"/v1/jobs/{job[leaves]}").status_code == 204
    assert call(stays, "GET", f"/v1/jobs/{job[stays]}/result").content == got.content
