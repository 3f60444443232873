"""Which web pages of other origins may call, and what they can read."""

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings

PAGE = "https://notebook.example"
PREFLIGHT = {
    "Origin": PAGE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type, idempotency-key, prefer",
}


@pytest.fixture
def open_to(jobs):
    def make(*origins, **more):
        return TestClient(create_app(Settings(cors_origins=list(origins), **more), jobs))

    return make


def test_by_default_no_page_of_another_origin_may(api):
    assert api.options("/v1/explain", headers=PREFLIGHT).status_code == 405
    assert "access-control-allow-origin" not in api.get("/v1/jobs", headers={"Origin": PAGE}).headers


def test_a_page_of_an_allowed_origin_may_send_all_that_the_api_takes(open_to):
    answer = open_to(PAGE).options("/v1/explain", headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "access-control-allow-credentials" not in answer.headers


def test_one_of_another_may_not(open_to):
    api, elsewhere = open_to(PAGE), {"Origin": "https://elsewhere.example"}
    assert api.options("/v1/explain", headers=PREFLIGHT | elsewhere).status_code == 400
    assert "access-control-allow-origin" not in api.get("/v1/jobs", headers=elsewhere).headers


def test_it_can_read_the_place_of_its_job_and_every_refusal(open_to):
    api = open_to(PAGE, max_body_bytes=100)
    answer = api.post("/v1/explain", json={"text": "a", "model": "minilm"}, headers={"Origin": PAGE})
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Location", "Retry-After", "ETag", "Link"} <= set(exposed)
    too_large = api.post("/v1/explain", json={"text": "a" * 100}, headers={"Origin": PAGE})
    assert too_large.status_code == 413
    assert too_large.headers["access-control-allow-origin"] == PAGE
