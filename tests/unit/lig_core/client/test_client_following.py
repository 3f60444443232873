"""Waiting and progress: from events, or by asking where a service tells none."""

import httpx
import pytest

from lig_core.client import Event
from lig_core.errors import ServiceError
from tests.unit.lig_core.client.answers import event, job, ok, problem, stream

LAYER = event(3, "layer", '{"layer":0,"maps":{}}')
DONE = event(9, "succeeded", '{"converged":true,"result":"/v1/jobs/j/result"}')


def progress(number, done):
    return event(number, data=f'{{"phase":"computing","done":{done},"total":2,"unit":"maps"}}')


def test_events_are_typed_and_end_with_the_final_one(client, asked):
    c = client(
        stream("retry: 0\n\n", event(1, "queued", "{}"), ": still here\n\n", progress(2, 1), DONE, progress(10, 2))
    )
    events = list(c.events("j"))
    assert [(e.id, e.name) for e in events] == [("1-0", "queued"), ("2-0", "progress"), ("9-0", "succeeded")]
    assert events[0].progress.phase == "queued"
    assert events[1].progress.done == 1
    assert events[2].data["converged"] is True
    assert [e.final for e in events] == [False, False, True]
    assert asked[0].headers["accept"] == "text/event-stream"
    assert "last-event-id" not in asked[0].headers


def test_a_stream_that_ends_early_is_resumed_after_the_last_event(client, asked):
    c = client(stream("retry: 0\n\n", progress(1, 1)), problem(503, headers={"Retry-After": "0"}), stream(DONE))
    assert [e.id for e in c.events("j")] == ["1-0", "9-0"]
    assert [r.headers.get("last-event-id") for r in asked] == [None, "1-0", "1-0"]


def test_events_can_be_resumed_by_hand(client, asked):
    assert [e.id for e in client(stream(DONE)).events("j", after="5-0")] == ["9-0"]
    assert asked[0].headers["last-event-id"] == "5-0"


def test_204_says_that_all_was_told(client):
    assert list(client(httpx.Response(204)).events("j", after="9-0")) == []


def test_a_gap_in_the_history_is_told(client):
    gap = event(4, "gap", '{"after":"1-0","next":"4-0"}')
    assert Event("4-0", "gap", {"after": "1-0", "next": "4-0"}) in list(client(stream(gap, DONE)).events("j"))


def test_line_separators_of_unicode_end_no_line(client):
    odd = event(1, "head", '{"text":"a\u2028b\u0085c"}')
    assert next(iter(client(stream(odd, DONE)).events("j"))).data["text"] == "a\u2028b\u0085c"


def test_layers_can_be_left_out(client, asked):
    c = client(stream(LAYER, DONE), stream(LAYER, DONE))
    assert [e.name for e in c.events("j")] == ["layer", "succeeded"]
    assert [e.name for e in c.events("j", layers=False)] == ["succeeded"]
    assert [dict(r.url.params) for r in asked] == [{}, {"layers": "false"}]


def test_something_else_than_events_is_no_stream(client):
    with pytest.raises(ServiceError, match="is it a LIG service"):
        list(client(ok({})).events("j"))


def test_progress_is_told_from_events_when_it_changes(client, asked):
    told = []
    c = client(stream(event(1, "queued", "{}"), progress(2, 1), LAYER, progress(4, 1), DONE), ok(job("succeeded", 2)))
    assert c.wait("j", on_progress=told.append)["status"] == "succeeded"
    assert [(p.phase, p.done) for p in told] == [("queued", 0), ("computing", 1), ("computing", 2)]
    assert [r.url.path for r in asked] == ["/v1/jobs/j/events", "/v1/jobs/j"]


@pytest.mark.parametrize("status", [404, 405, 406])
def test_a_service_without_events_is_asked_instead(client, asked, status):
    told = []
    answers = [job("running", 0), job("running", 1), job("running", 1), job("succeeded", 2)]
    client(problem(status), *map(ok, answers)).wait("j", on_progress=lambda p: told.append(p.done))
    assert told == [0, 1, 2]
    assert {r.url.params["wait"] for r in asked[1:]} == {"1"}


def test_an_unknown_job_is_said_to_be_unknown(client):
    with pytest.raises(ServiceError) as caught:
        client(problem(404, "job_not_found"), problem(404, "job_not_found")).wait("j", on_progress=print)
    assert caught.value.problem["code"] == "job_not_found"


def test_a_refused_stream_is_raised(client):
    with pytest.raises(ServiceError):
        client(problem(403, "forbidden")).wait("j", on_progress=print)


def test_a_wait_with_a_timeout_is_kept_to_by_asking(client, asked):
    client(ok(job("succeeded"))).wait("j", on_progress=print, timeout=5)
    assert [r.url.path for r in asked] == ["/v1/jobs/j"]


def test_an_error_in_the_callback_reaches_the_caller(client):
    def fail(progress):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        client(stream(progress(1, 1), DONE)).wait("j", on_progress=fail)
