"""Events over HTTP: dropped and resumed on another process, many listeners, slow ones, and the end of a process."""

import json
import re
import signal
import threading
import time
from contextlib import ExitStack
from typing import NamedTuple

import anyio
import httpx
import orjson
import pytest
from httpx_sse import EventSource, aconnect_sse, connect_sse

from lig_core.contract import Progress
from lig_core.errors import NotConverged
from lig_core.result.formats import layer_line
from service.keys.keyring import ANONYMOUS
from tests.running.by_hand import asked
from tests.running.processes import peak_of
from tests.running.waiting import PATIENCE, wait_until
from tests.support.made_results import made_head, made_layer, made_result

NO_LIMITS = httpx.Limits(max_connections=None)
STORY = ["queued", "started", "progress", "head", "progress", "layer", "progress", "layer", "succeeded"]


def start(b):
    """A job that has just been started: its id, and the run."""
    job = b.send_one(ANONYMOUS.name)
    return job.id, b.start()


def report(b, run, done=0):
    b.moves.report(run, Progress(phase="computing", done=done, total=2, unit="layers").model_dump_json())


def play(b, run, pause=0.0):
    """Everything that a worker does with a job of two layers."""
    report(b, run)
    b.add_part(run, "head", orjson.dumps(made_head()))
    for index in (0, 1):
        time.sleep(pause)
        report(b, run, index)
        b.add_arrays(run, made_layer(index))
    time.sleep(pause)
    b.end(run)


def url(job_id):
    return f"/v1/jobs/{job_id}/events"


class Told(NamedTuple):
    id: str
    event: str
    data: str


def told(event):
    return Told(event.id, event.event, event.data)


def listen(client, job_id, **request):
    """All events up to the end of the stream."""
    with connect_sse(client, "GET", url(job_id), **request) as source:
        return [told(event) for event in source.iter_sse() if event.data]


def test_events_tell_the_whole_story(api, by_hand):
    b = by_hand()
    job_id, run = start(b)
    play(b, run)
    events = listen(api, job_id)
    assert [event.event for event in events] == STORY
    data = {event.event: json.loads(event.data) for event in events}
    assert data["queued"] == {} and data["started"] == {"attempt": 1}
    assert data["progress"] == {"phase": "computing", "done": 1, "total": 2, "unit": "layers"}
    assert data["head"] == made_head()
    assert data["succeeded"] == {"converged": True, "result": f"/v1/jobs/{job_id}/result"}
    layers = [event.data for event in events if event.event == "layer"]
    assert layers == [layer_line(made_head(), made_layer(index)).decode() for index in (0, 1)]
    short = listen(api, job_id, params={"layers": "false"})
    assert [json.loads(event.data) for event in short if event.event == "layer"] == [{"layer": 0}, {"layer": 1}]


def test_the_stream_is_one_that_proxies_let_through(api, by_hand):
    b = by_hand()
    job_id, run = start(b)
    play(b, run)
    answer = api.get(url(job_id))
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.text.startswith("retry: 1000\n\n")
    assert re.findall(r"^event: (\w+)$", answer.text, re.M) == STORY
    assert len(re.findall(r"^id: \d+-\d+$", answer.text, re.M)) == len(STORY)


def test_a_client_dropped_at_every_event_misses_and_repeats_nothing_on_other_processes(start_api_process, by_hand):
    b = by_hand()
    job_id, run = start(b)
    worker = threading.Thread(target=play, args=(b, run, 0.3))
    worker.start()
    seen, addresses = [], [start_api_process()[0] for _ in range(2)]
    with ExitStack() as stack:
        clients = [stack.enter_context(httpx.Client(base_url=address, timeout=PATIENCE)) for address in addresses]
        while not seen or seen[-1].event != "succeeded":
            headers = {"Last-Event-ID": seen[-1].id} if seen else {}
            with connect_sse(clients[len(seen) % 2], "GET", url(job_id), headers=headers) as source:
                seen.append(next(told(event) for event in source.iter_sse() if event.data))
        after = [client.get(url(job_id), params={"after": seen[-1].id}).status_code for client in clients]
        whole = listen(clients[0], job_id)
    worker.join()
    assert [event.event for event in seen] == STORY
    assert seen == whole
    assert after == [204, 204]


def test_the_header_goes_before_the_query_and_must_be_an_id(api, by_hand):
    b = by_hand()
    job_id, run = start(b)
    play(b, run)
    events = listen(api, job_id)
    resumed = listen(api, job_id, params={"after": events[0].id}, headers={"Last-Event-ID": events[-2].id})
    assert resumed == events[-1:]
    assert listen(api, job_id, params={"after": events[-2].id}) == events[-1:]
    for where in (
        {"params": {"after": "x"}},
        {"headers": {"Last-Event-ID": "1"}},
        {"params": {"after": f"{2**70}-0"}},
        {"params": {"after": "x"}, "headers": {"Last-Event-ID": events[-2].id}},
    ):
        refused = api.get(url(job_id), **where)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert api.get(url("unknown")).status_code == 404


def test_a_failure_is_told_as_its_problem(api, by_hand):
    b = by_hand()
    job_id, run = start(b)
    b.moves.fail(run.place, run.computation, NotConverged("raise rtol"))
    last = listen(api, job_id)[-1]
    assert last.event == "failed"
    assert json.loads(last.data) == api.get(f"/v1/jobs/{job_id}").json()["problem"]


def test_a_job_cancelled_by_itself_ends_alone(api, by_hand):
    b = by_hand()
    one, other = (b.send_one(ANONYMOUS.name, asked("same")) for _ in range(2))
    run = b.start()
    assert one.computation == other.computation
    seen = []

    def follow():
        with connect_sse(api, "GET", url(one.id)) as source:
            seen.extend(told(event) for event in source.iter_sse() if event.data)

    listener = threading.Thread(target=follow)
    listener.start()
    wait_until(lambda: len(seen) == 2)
    api.post(f"/v1/jobs/{one.id}/cancel")
    listener.join(PATIENCE)
    assert [event.event for event in seen] == ["queued", "started", "cancelled"]
    play(b, run)
    assert listen(api, one.id) == seen
    assert api.get(url(one.id), params={"after": seen[-1].id}).status_code == 204
    assert listen(api, other.id)[-1].event == "succeeded"


def test_progress_that_is_no_longer_kept_is_told_as_a_gap(start_api_process, by_hand):
    b = by_hand(max_events=10)
    job_id, run = start(b)
    address, _ = start_api_process()
    for number in range(40):
        report(b, run, number)
    b.finish_with(run, made_result())
    with httpx.Client(base_url=address, timeout=PATIENCE) as client:
        whole = listen(client, job_id)
        assert "gap" not in [event.event for event in whole]
        resumed = listen(client, job_id, headers={"Last-Event-ID": whole[1].id})
        gap, following = resumed[:2]
        assert gap.event == "gap"
        assert json.loads(gap.data) == {"after": whole[1].id, "next": whole[2].id}
        assert resumed[1:] == whole[2:]
        assert listen(client, job_id, headers={"Last-Event-ID": gap.id})[0] == following


@pytest.mark.slow
def test_500_listeners_on_one_process_are_all_served(start_api_process, by_hand):
    b = by_hand()
    job_id, run = start(b)
    address, _ = start_api_process()
    heard, listening = [], 0

    async def follow(client):
        nonlocal listening
        async with aconnect_sse(client, "GET", url(job_id)) as source:
            story = []
            async for event in source.aiter_sse():
                if event.data:
                    listening += not story
                    story.append(told(event))
            heard.append(story)

    async def all_of_them():
        async with (
            httpx.AsyncClient(base_url=address, timeout=PATIENCE, limits=NO_LIMITS) as client,
            anyio.create_task_group() as group,
        ):
            for _ in range(500):
                group.start_soon(follow, client)
            while listening < 500:
                await anyio.sleep(0.1)
            assert not heard  # all of them are there at once
            await anyio.to_thread.run_sync(play, b, run, 0.2)

    anyio.run(all_of_them)
    assert len(heard) == 500
    assert all(story == heard[0] for story in heard)
    assert [event.event for event in heard[0]] == STORY


def test_a_listener_that_does_not_read_holds_up_nobody(start_api_process, by_hand):
    b = by_hand()
    job_id, run = start(b)
    address, process = start_api_process()
    with httpx.Client(base_url=address, timeout=PATIENCE, limits=NO_LIMITS) as client, ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(client.stream("GET", url(job_id)))
        before = peak_of(process, reset=True)
        b.add_part(run, "head", orjson.dumps(made_head(tokens=200)))
        for index in range(3):
            b.add_arrays(run, made_layer(index, targets=tuple(range(200)), sources=200, dimensions=384))
        b.end(run)
        heard = listen(client, job_id)
        assert heard[-1].event == "succeeded"
        layers = sum(len(event.data) for event in heard)
        assert peak_of(process) - before < layers + 100 * 2**18 + 2 * 2**24


def test_streams_end_when_the_process_is_told_to_stop(start_api_process, by_hand):
    b = by_hand()
    job_id, _ = start(b)
    address, process = start_api_process()
    with httpx.Client(base_url=address, timeout=PATIENCE) as client, client.stream("GET", url(job_id)) as answer:
        events = EventSource(answer).iter_sse()
        assert next(event for event in events if event.data).event == "queued"
        process.send_signal(signal.SIGTERM)
        # Ends in order, without an end of the job: what is cut off raises an error.
        assert [event.event for event in events] == ["started"]
        process.wait(PATIENCE)


def test_silence_is_filled_with_comments(start_api_process, by_hand):
    b = by_hand()
    job_id, _ = start(b)
    address, _ = start_api_process(LIG_EVENT_COMMENT_SECONDS="0.2")
    with httpx.Client(base_url=address, timeout=PATIENCE) as client, client.stream("GET", url(job_id)) as answer:
        lines = answer.iter_lines()
        assert next(line for line in lines if line.startswith(":"))
        assert next(line for line in lines if line.startswith(":"))
