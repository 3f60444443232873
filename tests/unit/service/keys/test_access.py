"""Which requests need a key, and which key may make which."""

import json
import logging

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import create_app
from service.keys.keyring import new_key
from service.settings import Settings
from tests.running.asking import OPEN, routes

GOOD = {"text": "The cat sat.", "model": "minilm"}


@pytest.fixture
def made():
    return {
        scopes: new_key(scopes.replace("+", "-"), scopes.split("+"))
        for scopes in ("explain+read", "explain", "read", "metrics")
    }


@pytest.fixture
def guarded(jobs, made):
    entries = json.dumps([entry.model_dump(mode="json") for _, entry in made.values()])
    with TestClient(create_app(Settings(keys=SecretStr(entries)), jobs), raise_server_exceptions=False) as client:
        yield client


def bearer(made, scopes):
    return {"Authorization": f"Bearer {made[scopes][0]}"}


def test_every_route_but_the_open_ones_asks_for_a_key(guarded):
    closed = []
    for method, path in routes(guarded.app):
        answer = guarded.request(method, path)
        closed.append((method, path))
        assert answer.status_code == 401, (method, path)
        assert answer.json()["code"] == "unauthorized"
        assert answer.headers["www-authenticate"] == "Bearer"
    assert len(closed) >= 17
    assert {("POST", "/v1/explain"), ("POST", "/explain"), ("GET", "/v1/jobs/{job_id}"), ("GET", "/metrics")} <= {
        *closed
    }


def test_a_refusal_says_to_every_kind_of_caller_how_a_key_is_sent(guarded):
    for headers in ({}, {"Authorization": "Bearer lig_nobody"}):
        said = guarded.get("/v1/jobs", headers=headers).json()["detail"]
        assert all(way in said for way in ("Authorization: Bearer", "--api-key", "LIG_API_KEY", "api_key=", "Key"))


def test_the_open_routes_need_none(guarded):
    for path in OPEN - {"/docs/assets"}:
        assert guarded.get(path).status_code == 200, path


def test_no_path_without_a_key_tells_whether_a_job_exists(guarded, jobs):
    assert guarded.get("/v1/jobs/nothing").json()["code"] == "unauthorized"
    assert jobs.read == 0


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer x", "Basic bGlnOng=", "Bearer lig_000000000000_wrong", "lig_000000000000_wrong"],
)
def test_a_wrong_key_is_401_and_appears_nowhere(guarded, header, caplog):
    with caplog.at_level(logging.DEBUG):
        answer = guarded.get("/v1/models", headers={"Authorization": header})
    assert answer.status_code == 401
    assert "Authorization: Bearer" in answer.json()["detail"]
    assert "wrong" not in answer.text + caplog.text


def test_a_key_is_checked_before_the_body_is_looked_at(guarded):
    assert guarded.post("/v1/explain", content=b"nonsense").status_code == 401


@pytest.mark.parametrize(
    ("scopes", "submit", "look", "metrics"),
    [("explain+read", 202, 200, 403), ("explain", 202, 403, 403), ("read", 403, 200, 403), ("metrics", 403, 403, 200)],
)
def test_a_key_does_what_its_scopes_say(guarded, made, scopes, submit, look, metrics):
    headers = bearer(made, scopes)
    assert guarded.post("/v1/explain", json=GOOD, headers=headers).status_code == submit
    assert guarded.get("/v1/models", headers=headers).status_code == look
    assert guarded.get("/metrics", headers=headers).status_code == metrics


def test_a_missing_scope_is_named(guarded, made):
    answer = guarded.delete("/v1/jobs/x", headers=bearer(made, "read"))
    assert answer.json()["code"] == "forbidden"
    assert "needs the scope 'explain'" in answer.json()["detail"]


def test_without_keys_everyone_may_do_everything(api):
    assert api.post("/v1/explain", json=GOOD).status_code == 202
    assert api.get("/metrics").status_code == 200


def test_the_description_says_which_routes_take_a_key(api):
    paths = api.get("/openapi.json").json()["paths"]
    assert paths["/v1/explain"]["post"]["security"] == [{"key": []}, {}]
    assert {"401", "403"} <= paths["/v1/explain"]["post"]["responses"].keys()
    assert paths["/livez"]["get"]["security"] == []


def test_keys_make_an_address_beyond_this_machine_acceptable():
    assert Settings(host="0.0.0.0").bind_refusal
    assert Settings(host="0.0.0.0", keys=SecretStr("[]")).bind_refusal is None
