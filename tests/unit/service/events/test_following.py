"""Channels and listeners: what is told to whom, what is forgotten, when reading ends."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from fastapi import FastAPI

from lig_core.contract import ExplainRequest
from lig_core.errors import InvalidRequest
from service.events import hub, ids
from service.events.bodies import LARGE, SharedBodies
from service.events.channel import SLACK, Channel
from service.events.hub import Hub
from service.http.errors import Draining, StoreUnavailable
from service.jobs.job import Event, EventPage, Submission
from service.keys.guard import owner
from service.lifecycle import Lifecycle
from service.routes import events
from service.settings import Settings
from tests.support.made_results import made_result

QUIET = 0.01
CACHE = 2**20
PATIENCE = 120


def happened(*kinds, first=1):
    return tuple(Event(f"{first + number}-0", kind, {}) for number, kind in enumerate(kinds))


@pytest.fixture
def job(jobs):
    return jobs.send("ada", Submission(ExplainRequest(text="x", model="minilm"), "digest", 1.0))


def first_event(jobs, job):
    return jobs.read_events(job.computation, None, 1).events[0].id


@pytest.fixture
def told():
    """What a listener is told up to the first silence, or the end."""

    async def listen(listener):
        found = []
        async for event in listener.events(QUIET):
            if event is None:
                break
            found.append((event.kind, event.id))
        return found

    with asyncio.Runner() as runner:
        yield lambda listener: runner.run(listen(listener))


def test_each_listener_has_its_own_place(job, told):
    channel = Channel(100)
    channel.add(EventPage(happened("queued", "started", "succeeded")), [])
    assert told(channel.listener(job, None)) == [("queued", "1-0"), ("started", "2-0"), ("succeeded", "3-0")]
    assert told(channel.listener(job, "1-0")) == [("started", "2-0"), ("succeeded", "3-0")]
    assert not channel.listener(job, "3-0").pending


def test_old_progress_is_forgotten_and_told_once_to_who_missed_it(job, told):
    channel = Channel(10)
    channel.add(EventPage(happened("queued", "started")), [])
    slow = channel.listener(job, "2-0")
    channel.add(EventPage(happened("layer", *["progress"] * (SLACK + 20), first=3)), [])
    found = told(slow)
    assert len(found) == 10 - 2 + 1
    assert found[0] == ("gap", ids.preceding("3-0"))
    assert found[1] == ("layer", "3-0")
    assert found[-1] == ("progress", f"{SLACK + 23}-0")
    assert [kind for kind, _ in told(channel.listener(job, None))].count("gap") == 0


def test_what_redis_forgot_after_it_was_read_is_no_gap(job, told):
    channel = Channel(100)
    channel.add(EventPage(happened("queued", "progress", "progress")), [])
    channel.add(EventPage(happened("progress", first=4), forgotten="2-0"), [])
    assert ("gap", "1-0") not in told(channel.listener(job, "1-0"))
    assert len(told(channel.listener(job, "1-0"))) == 3


def test_a_job_that_ended_by_itself_hears_no_more(job, told):
    channel = Channel(100)
    mine, other = channel.listener(job, None), channel.listener(replace(job, id="other"), None)
    channel.add(EventPage(happened("queued", "started", "layer"), ends={job.id: "2-0"}), [job.id, "other"])
    assert told(mine) == [("queued", "1-0"), ("started", "2-0"), ("cancelled", "2-1")]
    assert told(other)[-1] == ("layer", "3-0")
    assert not channel.listener(job, "2-1").pending
    channel.add(EventPage(()), [job.id])  # it was sent again: its end is gone
    assert told(channel.listener(job, "2-0")) == [("layer", "3-0")]


def test_one_reader_serves_all_and_stops_when_nobody_listens(jobs, job, monkeypatch):
    monkeypatch.setattr(hub, "LINGER_SECONDS", 0.2)
    monkeypatch.setattr(hub, "LOOK_SECONDS", QUIET)
    jobs.start(job.id)
    reads, read = [], jobs.read_events
    jobs.read_events = lambda *asked: reads.append(asked) or read(*asked)

    async def scenario():
        made = Hub(jobs, Lifecycle(), 100, CACHE)
        async with made.running():
            with contextlib.ExitStack() as stack:
                first = await made.join(job, None)
                stack.enter_context(first.listening())
                before = len(reads)
                for listener in [await made.join(job, None) for _ in range(200)]:
                    stack.enter_context(listener.listening())
                    assert listener.pending
                assert (made.channels, made.listeners) == (1, 201)
                assert len(reads) - before < 100
            while made.channels:
                await asyncio.sleep(QUIET)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_store_that_does_not_answer_at_first_is_an_error_later_only_a_delay(jobs, job, monkeypatch):
    monkeypatch.setattr(hub, "RETRY_SECONDS", QUIET)
    monkeypatch.setattr(hub, "LOOK_SECONDS", QUIET)
    failing, read = True, jobs.read_events

    def maybe(*asked):
        if failing:
            raise StoreUnavailable("no answer")
        return read(*asked)

    jobs.read_events = maybe

    async def scenario():
        nonlocal failing
        made = Hub(jobs, Lifecycle(), 100, CACHE)
        with pytest.raises(StoreUnavailable):
            await made.join(job, None)
        assert made.channels == 0
        failing = False
        listener = await made.join(job, first_event(jobs, job))
        with listener.listening():
            failing = True
            await asyncio.sleep(5 * QUIET)
            jobs.start(job.id)
            failing = False
            while not listener.pending:
                await asyncio.sleep(QUIET)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


@pytest.mark.parametrize("how", ["the process stops", "the job is forgotten"])
def test_listeners_are_let_go(jobs, job, monkeypatch, how):
    monkeypatch.setattr(hub, "LOOK_SECONDS", QUIET)

    async def scenario():
        lifecycle = Lifecycle()
        made = Hub(jobs, lifecycle, 100, CACHE)
        async with made.running():
            listener = await made.join(job, first_event(jobs, job))
            with listener.listening():
                if how == "the process stops":
                    lifecycle.drain()
                else:
                    jobs.delete("ada", job.id)
                return [event async for event in listener.events(30)]

    assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE)) == []


def test_who_comes_as_the_reader_leaves_is_let_go_to_come_again(jobs, job, monkeypatch):
    monkeypatch.setattr(hub, "LINGER_SECONDS", 0.0)
    monkeypatch.setattr(hub, "LOOK_SECONDS", QUIET)

    async def scenario():
        made = Hub(jobs, Lifecycle(), 100, CACHE)
        late = await made.join(job, first_event(jobs, job))
        while made.channels:
            await asyncio.sleep(QUIET)
        with late.listening():
            return [event async for event in told_once(late)]

    async def told_once(listener):
        async for event in listener.events(QUIET):
            yield event
            if event is None:  # it would be told nothing for ever
                break

    assert asyncio.run(asyncio.wait_for(scenario(), PATIENCE)) == []


def test_nobody_begins_to_listen_to_a_process_that_is_about_to_stop(jobs, job):
    lifecycle = Lifecycle()

    async def scenario():
        made = Hub(jobs, lifecycle, 100, CACHE)
        async with made.running():
            joining = asyncio.create_task(made.join(job, None))
            await asyncio.sleep(0)  # it has looked, and the reader has not read
            lifecycle.drain()
            with pytest.raises(Draining):
                await joining

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


@pytest.fixture
def asked(jobs, job):
    """The route's application over a hub, and the scope of a request for the job's events."""
    made = Hub(jobs, Lifecycle(), 100, CACHE)
    app = FastAPI()
    app.include_router(events.router(Settings(), jobs, made))
    app.dependency_overrides[owner] = lambda: "ada"
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},  # as uvicorn says
        "method": "GET",
        "path": f"/jobs/{job.id}/events",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
    }
    return app, scope, made


def test_all_that_happened_goes_out_in_one_send(jobs, job, asked):
    app, scope, _ = asked
    result, sent = made_result(indices=range(3)), []
    jobs.finish(job.id, result.head, result)

    async def send(message):
        sent.append(message.get("body"))

    async def receive():
        await asyncio.sleep(PATIENCE)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), PATIENCE))
    _, told, end = sent
    assert told.count(b"event: layer") == 3
    assert told.count(b"event: ") == 7  # queued, started, head, succeeded
    assert end == b""


def test_no_listener_waits_for_a_body_that_is_made_while_it_listens(jobs, job):
    result, there = made_result(indices=range(6)), []

    async def listen(made, listener):
        with listener.listening(maps=True):
            async for event in listener.events(PATIENCE):
                if event.kind in LARGE:
                    getting = made.bodies.get(job, event)
                    there.append(ends_at_once(getting))

    async def scenario():
        made = Hub(jobs, Lifecycle(), 100, CACHE)
        async with made.running(), asyncio.TaskGroup() as listening:
            for _ in range(20):
                listening.create_task(listen(made, await made.join(job, None)))
            await asyncio.to_thread(jobs.finish, job.id, result.head, result)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
    assert there == [True] * 20 * 7


def ends_at_once(coroutine):
    with contextlib.closing(coroutine):
        try:
            coroutine.send(None)
        except StopIteration:
            return True
    return False


def test_a_client_that_goes_away_is_noticed(asked):
    app, scope, made = asked

    async def scenario():
        gone, sent = asyncio.Event(), asyncio.Event()

        async def receive():
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if b"queued" in message.get("body", b""):
                sent.set()

        answering = asyncio.create_task(app(scope, receive, send))
        await sent.wait()
        assert made.listeners == 1
        gone.set()
        await answering
        assert made.listeners == 0

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_body_is_made_once_for_all_who_ask_at_once_and_shared_while_it_is_sent():
    made = []

    def make():
        made.append(1)
        return b"x" * 100

    async def scenario():
        bodies = SharedBodies(limit=10)  # too little to keep any
        found = await asyncio.gather(*(bodies.get("a", make) for _ in range(50)))
        assert all(body is found[0] for body in found)
        assert await bodies.get("a", make) is found[0]
        assert len(made) == 1
        del found
        while len(made) == 1:  # until the thread that made it lets go
            await asyncio.sleep(QUIET)
            await bodies.get("a", make)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_bodies_last_used_are_kept_within_the_limit():
    async def scenario():
        bodies, made = SharedBodies(limit=250), []
        for name in "abacab":
            await bodies.get(name, lambda name=name: made.append(name) or name.encode() * 100)
        return made

    assert asyncio.run(scenario()) == ["a", "b", "c", "b"]


@pytest.mark.parametrize("text", ["", "x", "1", "1-", "-1", "1-2-3", " 1-0", "1-0\n", "١-0", f"{2**64}-0"])
def test_what_is_no_id_is_refused(text):
    with pytest.raises(InvalidRequest) as error:
        ids.parse(text, "/query/after")
    assert error.value.errors[0].pointer == "/query/after"


def test_ids_are_in_order():
    assert ids.later("10-0", "9-5")
    assert ids.following("9-5") == "9-6"
    for event_id in ("9-5", "9-0"):
        assert ids.later(event_id, ids.preceding(event_id))
    assert ids.later(ids.preceding("9-0"), "8-77")
