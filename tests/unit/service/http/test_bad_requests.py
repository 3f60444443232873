"""Whatever is wrong with a request, the answer is a problem document that says what to do."""

import gzip
import json

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lig_core.contract import ExplainRequest
from lig_core.serving.queue.job_errors import QueueFull, QuotaExceeded
from service.app import create_app
from service.http.errors import StoreUnavailable
from service.settings import Settings

JSON = {"Content-Type": "application/json"}
GOOD = {"text": "The cat sat.", "model": "minilm"}


def problem_of(response, status, code):
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == code
    assert problem["type"] == f"urn:lig:problem:{code}"
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["x-request-id"]
    assert {"title", "detail", "instance", "errors", "retryable"} <= problem.keys()
    return problem


@pytest.mark.parametrize("path", ["/explain", "/v1/explain"])
@pytest.mark.parametrize(
    ("change", "pointer", "advice"),
    [
        ({"text": ""}, "/text", "send at least one visible character"),
        ({"text": " \n"}, "/text", "send at least one visible character"),
        ({"layers": [99]}, "/layers", "minilm has layers 0 to 5"),
        ({"target_head": 12}, "/target_head", "minilm has heads 0 to 11"),
        ({"colour": "red"}, "/colour", "unknown field; known are tokens, text, model"),
        ({"num_steps": 0}, "/num_steps", "greater than or equal to 1"),
        ({"num_steps": "32"}, "/num_steps", "valid integer"),
        ({"rtol": "0.001"}, "/rtol", "valid number"),
        ({"labels": 1}, "/labels", "valid boolean"),
        ({"granularity": ["att", "nope"]}, "/granularity", "'att', 'mlp', 'layer', 'composed'"),
        ({"model": "../secrets"}, "/model", "send a Hugging Face id or a name from the models folder"),
        ({"model": "/etc"}, "/model", "looks like a path"),
        ({"model": "~/models/x"}, "/model", "looks like a path"),
        ({"model": "a\0b"}, "/model", "by its characters or its length"),
        ({"model": "models/../../x"}, "/model", "looks like a path"),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_is_allowed(api, jobs, path, change, pointer, advice):
    problem = problem_of(api.post(path, json=GOOD | change), 422, "invalid_request")
    (error,) = problem["errors"]
    assert error["pointer"] == pointer
    assert advice in error["detail"]
    assert not jobs.submissions


def test_every_fault_of_a_request_is_reported_at_once(api):
    problem = problem_of(api.post("/v1/explain", json={"text": "", "colour": 1}), 422, "invalid_request")
    assert {error["pointer"] for error in problem["errors"]} == {"/text", "/colour"}


def test_a_missing_text_is_named(api):
    problem = problem_of(api.post("/v1/explain", json={}), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/text"


def test_a_model_that_cannot_exist_is_refused_at_once(api, jobs):
    problem = problem_of(api.post("/v1/explain", json=GOOD | {"model": "no such model"}), 422, "model_not_found")
    assert "'no such model'" in problem["detail"]
    assert not jobs.submissions


def test_a_model_that_no_hub_has_is_refused_and_another_is_named(api, jobs, monkeypatch):
    monkeypatch.setattr("lig_core.models.catalog.hub_has", lambda card: False)
    problem = problem_of(api.post("/v1/explain", json=GOOD | {"model": "nobody/nothing"}), 422, "model_not_found")
    assert "'nobody/nothing'" in problem["detail"]
    assert "minilm" in problem["detail"]
    assert not jobs.submissions


def test_a_model_that_only_workers_can_reach_is_queued(jobs):
    api = TestClient(create_app(Settings(ask_hub=False), jobs))
    assert api.post("/v1/explain", json=GOOD | {"model": "nobody/nothing"}).status_code == 202


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(), st.lists, max_leaves=5
    )
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_at_all_in_any_field_is_accepted_or_a_problem(api, value):
    for field in ExplainRequest.model_fields:
        response = api.post("/v1/explain", json=GOOD | {field: value})
        assert response.status_code in {202, 422}, response.text
    assert api.post("/v1/explain", content=json.dumps(value), headers=JSON).status_code == 422


def test_malformed_json_is_400_and_shows_an_example(api):
    problem = problem_of(api.post("/v1/explain", content='{"text": ', headers=JSON), 400, "malformed_json")
    assert '{"text": "The cat sat on the mat."}' in problem["detail"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_415_and_names_the_right_one(api, media_type):
    response = api.post("/v1/explain", content=b"{}", headers={"Content-Type": media_type})
    assert "Content-Type: application/json" in problem_of(response, 415, "unsupported_media_type")["detail"]


def test_json_with_a_charset_is_accepted(api):
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert api.post("/v1/explain", content=b'{"text": "a", "model": "minilm"}', headers=headers).status_code == 202


def test_a_megabyte_of_text_is_413_and_names_the_limit(api):
    problem = problem_of(api.post("/v1/explain", json=GOOD | {"text": "a" * 1_000_000}), 413, "body_too_large")
    assert "262144 bytes" in problem["detail"]


def test_a_body_without_a_length_is_counted_as_it_arrives(api):
    response = api.post("/v1/explain", content=(b"a" * 100_000 for _ in range(4)), headers=JSON)
    problem_of(response, 413, "body_too_large")


def test_an_unknown_path_is_404_and_points_to_the_docs(api):
    assert "/docs" in problem_of(api.get("/v1/nothing"), 404, "not_found")["detail"]


def test_a_wrong_method_is_405_and_names_the_right_one(api):
    response = api.get("/v1/explain")
    assert "it takes POST" in problem_of(response, 405, "method_not_allowed")["detail"]
    assert response.headers["allow"] == "POST"


def test_a_wrong_method_names_all_that_are_right(api):
    response = api.put("/v1/jobs/x")
    problem_of(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "DELETE, GET, HEAD"


def test_a_compressed_body_is_415_and_asks_for_a_plain_one(api):
    headers = JSON | {"Content-Encoding": "gzip"}
    response = api.post("/v1/explain", content=gzip.compress(json.dumps(GOOD).encode()), headers=headers)
    assert "as it is" in problem_of(response, 415, "unsupported_media_type")["detail"]


def test_a_wait_that_is_no_number_is_422(api):
    problem = problem_of(api.get("/v1/jobs/x?wait=soon"), 422, "invalid_request")
    assert problem["errors"][0]["pointer"] == "/query/wait"


def test_a_silent_store_is_503_and_may_be_tried_again(api, jobs):
    jobs.failure = StoreUnavailable("Redis does not answer; try again in a moment")
    response = api.post("/v1/explain", json=GOOD)
    assert problem_of(response, 503, "store_unavailable")["retryable"]
    assert int(response.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("error", "status"),
    [(QueueFull("full", retry_after=12.3), 503), (QuotaExceeded("too much", retry_after=12.3), 429)],
)
def test_who_is_refused_for_now_is_told_when_to_come_back(api, jobs, error, status):
    jobs.failure = error
    response = api.post("/v1/explain", json=GOOD)
    assert problem_of(response, status, error.code)["retryable"]
    assert response.headers["retry-after"] == "13"


def test_an_unexpected_fault_is_500_without_its_message(api, jobs):
    jobs.failure = RuntimeError("a secret")
    response = api.post("/v1/explain", json=GOOD)
    problem_of(response, 500, "internal_error")
    assert "secret" not in response.text


def test_a_sane_request_id_is_echoed(api):
    assert api.get("/livez", headers={"X-Request-Id": "abc-1"}).headers["x-request-id"] == "abc-1"


def test_a_request_id_that_could_forge_a_log_line_is_replaced(api):
    assert api.get("/livez", headers={"X-Request-Id": "a b"}).headers["x-request-id"] != "a b"
