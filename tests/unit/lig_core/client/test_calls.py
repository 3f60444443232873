"""What each method sends, and what it makes of the answer."""

import inspect
import json

import httpx
import pytest

from lig_core.client import AsyncClient, Client, ServiceUnreachable
from lig_core.contract import ExplainRequest
from lig_core.errors import InvalidRequest, NotConverged, OutOfMemory, ServiceError
from lig_core.result.plain.text import plain
from lig_core.result.render import document
from lig_core.result.viewer.show import show
from tests.support.made_results import made_result
from tests.unit.lig_core.client.answers import job, ok, problem


def paths(asked):
    return [f"{request.method} {request.url.raw_path.decode()}" for request in asked]


def test_both_clients_have_the_same_methods_and_arguments():
    def surface(kind):
        methods = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        methods["close"] = methods.pop("aclose", methods.get("close"))
        return {name: inspect.signature(method).parameters for name, method in methods.items()}

    ours, theirs = surface(Client), surface(AsyncClient)
    assert {name: list(map(str, p.values())) for name, p in ours.items()} == {
        name: list(map(str, p.values())) for name, p in theirs.items()
    }


def test_explain_sends_waits_and_returns_the_result(client, asked):
    c = client(ok(job("queued"), 202), ok(job("running")), ok(job("succeeded")), ok({"tokens": []}))
    assert c.explain("hi", model="minilm") == {"tokens": []}
    assert paths(asked) == [
        "POST /v1/explain",
        "GET /v1/jobs/j?wait=30&embed=false",
        "GET /v1/jobs/j?wait=30&embed=false",
        "GET /v1/jobs/j/result",
    ]
    assert asked[0].read() == b'{"text":"hi","model":"minilm"}'


def test_explain_asks_no_more_where_the_result_is_stored(client, asked):
    assert client(ok(job("succeeded", result={"tokens": []}))).explain("hi") == {"tokens": []}
    assert len(asked) == 1


def test_a_request_is_sent_without_its_defaults(client, asked):
    client(ok(job("queued"), 202)).submit(ExplainRequest(text="hi", layers=[1]))
    assert asked[0].read() == b'{"text":"hi","layers":[1]}'


def test_tokens_are_sent_in_place_of_a_text(client, asked):
    c = client(ok(job("queued"), 202), ok({"tokens": 1}), ok(job("queued"), 202))
    c.submit(tokens=["hi"])
    c.estimate(tokens=["hi"])
    c.submit(ExplainRequest(tokens=["hi"]))
    assert [request.read() for request in asked] == [b'{"tokens":["hi"]}'] * 3


def test_a_fresh_computation_is_asked_for_by_its_header(client, asked):
    c = client(ok(job("queued"), 202), ok(job("queued"), 202))
    c.submit("hi")
    c.submit("hi", fresh=True)
    assert [request.headers.get("cache-control") for request in asked] == [None, "no-cache"]


def test_every_submission_has_a_key_of_its_own_unless_one_is_given(client, asked):
    batch = ok({"group": "g", "jobs": []}, 202)
    c = client(ok(job("queued"), 202), ok(job("queued"), 202), batch, ok(job("queued"), 202))
    c.submit("hi")
    c.submit("hi")
    c.batch(["hi"])
    c.submit("hi", idempotency_key="mine")
    keys = [request.headers["idempotency-key"] for request in asked]
    assert len(set(keys)) == 4
    assert keys[3] == "mine"


def test_a_batch_has_one_set_of_options(client, asked):
    answer = {"group": "g", "jobs": [job("queued")]}
    assert client(ok(answer, 202)).batch(["a", "b"], model="minilm") == answer
    assert json.loads(asked[0].read()) == {"texts": ["a", "b"], "options": {"model": "minilm"}}


def test_one_text_is_no_batch(client):
    with pytest.raises(InvalidRequest, match="list of texts"):
        client().batch("one")


def test_an_estimate_queues_nothing(client, asked):
    assert client(ok({"seconds": 1.5})).estimate("hi", model="minilm") == {"seconds": 1.5}
    assert paths(asked) == ["POST /v1/explain/estimate"]
    assert "idempotency-key" not in asked[0].headers


def test_jobs_are_paged_through_by_the_cursor_of_the_next_link(client, asked):
    c = client(
        ok({"jobs": [job("queued"), job("running")]}, Link='</v1/jobs?limit=2&cursor=a%2Fb>; rel="next"'),
        ok({"jobs": [job("failed")]}, Link='<https://elsewhere/v1/jobs?cursor=c>; rel="next"'),
        ok({"jobs": []}),
    )
    assert [found["status"] for found in c.jobs(limit=2)] == ["queued", "running", "failed"]
    assert paths(asked) == [
        "GET /v1/jobs?limit=2",
        "GET /v1/jobs?limit=2&cursor=a%2Fb",
        "GET /v1/jobs?limit=2&cursor=c",
    ]
    assert {request.url.host for request in asked} == {"service"}


def test_pages_are_fetched_only_as_they_are_read(client, asked):
    jobs = client(ok({"jobs": [job("queued")]}, Link='</v1/jobs?cursor=a>; rel="next"')).jobs()
    next(iter(jobs))
    jobs.close()
    assert len(asked) == 1


def test_a_part_of_a_result_is_asked_of_the_service(client, asked):
    client(ok({})).result("j", layers=[0, 5], targets=[1], maps=["att", "layer"], top_k=3)
    assert dict(asked[0].url.params) == {"layers": "0,5", "targets": "1", "maps": "att,layer", "top_k": "3"}
    assert asked[0].headers["accept"] == "application/json"


def test_a_notebook_shows_results(client):
    made = made_result()
    expected = plain(document(made.head, made))
    ended = (ok(job("queued"), 202), ok(job("succeeded")), ok(expected))
    for result in (client(ok(expected)).result("j"), client(*ended).explain("hi", on_unconverged="ignore")):
        assert result == expected
        assert result._repr_html_() == show(expected)._repr_html_()


@pytest.mark.parametrize(
    ("form", "media_type"),
    [
        ("npz", "application/x-npz"),
        ("safetensors", "application/vnd.safetensors"),
        ("ndjson", "application/x-ndjson"),
        ("html", "text/html; charset=utf-8"),
    ],
)
def test_other_formats_are_bytes(client, asked, form, media_type):
    answer = httpx.Response(200, content=b"bytes", headers={"Content-Type": media_type})
    assert client(answer).result("j", format=form) == b"bytes"
    assert asked[0].headers["accept"] == media_type.partition(";")[0]


def test_a_service_that_does_not_know_the_format_is_told_apart(client):
    with pytest.raises(ServiceError, match="application/json"):
        client(ok({})).result("j", format="npz")


def test_the_other_calls_name_their_routes(client, asked):
    graph = httpx.Response(200, content=b"<graphml/>", headers={"Content-Type": "application/graphml+xml"})
    c = client(
        *(ok(job("cancelled")), httpx.Response(204), ok({"layers": {}}), ok({"models": [{"id": "m"}]}), ok({}), ok({})),
        *(ok({"paths": []}), graph, ok(job("queued"), 202)),
    )
    c.cancel("j")
    assert c.delete("j") is None
    c.diff("a", "b")
    assert c.models() == [{"id": "m"}]
    c.boundaries("org/name@v 1")
    c.job("../x")
    assert c.flow("j", map="product", source=None, layers=[0, 1], graph=True) == {"paths": []}
    assert c.flow("j", format="graphml", least=0.5) == b"<graphml/>"
    assert c.experiment(["Go", {"words": ["Go"]}], model="m")["status"] == "queued"
    assert json.loads(asked[-1].content) == {"sentences": [{"text": "Go"}, {"words": ["Go"]}], "model": "m"}
    assert paths(asked) == [
        "POST /v1/jobs/j/cancel",
        "DELETE /v1/jobs/j",
        "GET /v1/diff?a=a&b=b",
        "GET /v1/models",
        "GET /v1/models/org/name@v%201/boundaries",
        "GET /v1/jobs/..%2Fx?wait=0&embed=false",
        "GET /v1/jobs/j/flow?map=product&layers=0%2C1&graph=true",
        "GET /v1/jobs/j/flow?least=0.5",
        "POST /v1/experiments",
    ]


def test_the_key_is_sent_as_a_bearer_token_from_the_argument_or_the_environment(client, asked, monkeypatch):
    monkeypatch.setenv("LIG_API_KEY", "theirs")
    client(ok(job("queued"))).job("j")
    client(ok(job("queued")), api_key="mine\n").job("j")
    client(ok(job("queued")), api_key="").job("j")
    assert [request.headers.get("authorization") for request in asked] == ["Bearer theirs", "Bearer mine", None]


def test_a_key_that_no_header_can_carry_is_refused(connect):
    with pytest.raises(InvalidRequest, match="LIG_API_KEY"):
        connect(api_key="ключ")


@pytest.mark.parametrize("address", ["localhost:8000", "service", "", "ftp://service", "http://"])
def test_an_address_that_is_none_is_refused_with_an_example(connect, address):
    with pytest.raises(InvalidRequest, match=r"http://127\.0\.0\.1:8000"):
        connect(address)


def test_a_problem_is_raised_with_its_pointers(client):
    refusal = problem(422, "invalid_request", errors=[{"pointer": "/layers", "detail": "no"}])
    with pytest.raises(ServiceError, match="no") as caught:
        client(refusal).submit("hi", layers=[99])
    assert caught.value.problem["code"] == caught.value.code == "invalid_request"
    assert caught.value.errors[0].pointer == "/layers"


def test_a_failed_job_is_raised_with_its_problem(client):
    failed = job("failed", problem={"code": "not_converged", "detail": "raise rtol"})
    with pytest.raises(ServiceError, match="raise rtol") as caught:
        client(ok(job("queued"), 202), ok(failed)).explain("hi")
    assert caught.value.code == "not_converged"


@pytest.mark.parametrize("kind", [OutOfMemory, NotConverged, InvalidRequest])
def test_an_error_says_of_itself_what_its_problem_says(kind):
    error = ServiceError(kind("so").as_dict())
    assert (error.code, error.title, error.retryable, str(error)) == (kind.code, kind.title, kind.retryable, "so")
    assert ServiceError({}).code == ServiceError.code == "internal_error"


@pytest.mark.parametrize("status", [200, 301, 500])
def test_an_answer_from_something_else_is_told_apart(client, status):
    with pytest.raises(ServiceError, match="is it a LIG service") as caught:
        client(httpx.Response(status, text="<html>")).job("j")
    assert caught.value.code == "not_a_lig_service"


def test_a_refused_connection_says_how_to_start_the_service(connect):
    with pytest.raises(ServiceUnreachable, match=r"http://127\.0\.0\.1:1 .*lig serve"):
        connect("http://127.0.0.1:1").submit("hi")
