"""The client over canned answers."""

import httpx
import pytest

from lig_core.client import Client, ServiceUnreachable
from lig_core.contract import ExplainRequest
from lig_core.errors import ServiceError


def job(status, done=0, **more):
    progress = {"phase": "computing", "done": done, "total": 2, "unit": "maps"}
    return {"id": "j", "status": status, "progress": progress, **more}


def client(*answers, asked=None):
    left = list(answers)

    def answer(request):
        if asked is not None:
            asked.append(request)
        return left.pop(0)

    return Client("http://service", transport=httpx.MockTransport(answer))


def test_explain_sends_waits_and_returns_the_result():
    asked = []
    answers = [(202, job("queued")), (200, job("running")), (200, job("succeeded")), (200, {"tokens": []})]
    with client(*(httpx.Response(s, json=body) for s, body in answers), asked=asked) as c:
        assert c.explain("hi", model="minilm") == {"tokens": []}
    assert [f"{r.method} {r.url.path}" for r in asked] == [
        "POST /v1/explain",
        "GET /v1/jobs/j",
        "GET /v1/jobs/j",
        "GET /v1/jobs/j/result",
    ]
    assert asked[0].read() == b'{"text":"hi","model":"minilm"}'


def test_a_request_is_sent_without_its_defaults():
    asked = []
    with client(httpx.Response(202, json=job("queued")), asked=asked) as c:
        c.submit(ExplainRequest(text="hi", layers=[1]))
    assert asked[0].read() == b'{"text":"hi","layers":[1]}'


def test_progress_is_told_when_it_changes():
    told = []
    answers = [job("running", 0), job("running", 1), job("running", 1), job("succeeded", 2)]
    with client(*(httpx.Response(200, json=body) for body in answers)) as c:
        c.wait("j", on_progress=lambda progress: told.append(progress.done))
    assert told == [0, 1, 2]


def test_a_problem_is_raised_with_its_pointers():
    problem = {"code": "invalid_request", "detail": "no", "errors": [{"pointer": "/layers", "detail": "no"}]}
    response = httpx.Response(422, json=problem, headers={"Content-Type": "application/problem+json"})
    with client(response) as c, pytest.raises(ServiceError, match="no") as caught:
        c.submit("hi", layers=[99])
    assert caught.value.problem["code"] == "invalid_request"
    assert caught.value.errors[0].pointer == "/layers"


def test_a_failed_job_is_raised_with_its_problem():
    failed = job("failed", problem={"code": "not_converged", "detail": "raise rtol"})
    with (
        client(httpx.Response(202, json=job("queued")), httpx.Response(200, json=failed)) as c,
        pytest.raises(ServiceError, match="raise rtol"),
    ):
        c.explain("hi")


def test_an_answer_from_something_else_is_told_apart():
    with (
        client(httpx.Response(502, text="<html>")) as c,
        pytest.raises(ServiceError, match="is it a LIG service"),
    ):
        c.job("j")


def test_waiting_ends_at_the_timeout_and_leaves_the_job():
    with (
        client(httpx.Response(200, json=job("running"))) as c,
        pytest.raises(TimeoutError, match="still running"),
    ):
        c.wait("j", timeout=0)


def test_a_refused_connection_says_how_to_start_the_service():
    with Client("http://127.0.0.1:1") as c, pytest.raises(ServiceUnreachable, match="lig serve"):
        c.submit("hi")
