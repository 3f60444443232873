"""What a job costs, as far as it can be counted: threads and commands of Redis for a POST, round trips for a part."""

import json
from collections import Counter

import anyio.to_thread
import pytest
from redis.connection import AbstractConnection

from service.jobs.stored_result import small_result
from tests.support.made_results import made_result

COUNTED_APART = {"info", "config|resetstat", "config"}


@pytest.fixture
def commands(redis):
    """The commands of Redis that a call takes, those within scripts too."""

    def count(call):
        redis.config_resetstat()
        call()
        found = redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in found.items()}
        return Counter({name: times for name, times in calls.items() if name not in COUNTED_APART})

    return count


@pytest.fixture
def round_trips(monkeypatch):
    sent, send = [], AbstractConnection.send_packed_command

    def noted(connection, command, check_health=True):
        sent.append(command)
        return send(connection, command, check_health)

    def count(call):
        sent.clear()
        call()
        return len(sent)

    monkeypatch.setattr(AbstractConnection, "send_packed_command", noted)
    return count


@pytest.fixture
def post(api, monkeypatch):
    monkeypatch.setattr("service.submit.pace.LOAD_SECONDS", 1e9)
    monkeypatch.setattr("service.submit.known_models.FRESH_SECONDS", 1e9)

    def send(text):
        answer = api.post("/v1/explain", json={"text": text, "model": "minilm"})
        assert answer.status_code == 202

    send("the first, which reads the model's files and the queue's load")
    return send


def test_a_post_takes_one_thread(post, monkeypatch):
    hops, run = [], anyio.to_thread.run_sync

    async def noted(function, *arguments, **options):
        hops.append(function)
        return await run(function, *arguments, **options)

    monkeypatch.setattr(anyio.to_thread, "run_sync", noted)
    post("another")
    assert len(hops) == 1


def test_for_a_post_fastapi_looks_for_no_dependency(post, monkeypatch):
    async def looked(**asked):
        raise AssertionError("it did")

    monkeypatch.setattr("fastapi.routing.solve_dependencies", looked)
    post("another")


def test_a_post_takes_one_round_trip(post, round_trips):
    assert round_trips(lambda: post("another")) == 1


def test_a_post_takes_so_many_commands_and_tells_nobody_of_what_nobody_can_know(post, commands):
    found = commands(lambda: post("another"))
    assert found["evalsha"] == 1
    assert found["hset"] == 4  # the computation, the job, its claim, its flow
    assert found["publish"] == 0
    assert found.total() == 48, found


def test_a_part_is_stored_and_told_in_one_round_trip(by_hand, round_trips):
    b = by_hand()
    b.send_one()
    run = b.start()
    b.add_layer(run, 0)
    assert [round_trips(lambda index=index: b.add_layer(run, index)) for index in (1, 2, 3)] == [1, 1, 1]


def test_a_small_result_is_read_in_one_round_trip(by_hand, round_trips):
    b, result, read = by_hand(), made_result(indices=range(12)), []
    job = b.send_one()
    b.finish_with(b.start(), result)
    ended = b.store.get("ada", job.id)
    assert round_trips(lambda: read.append(small_result(b.store, ended, 2**20))) == 1
    assert json.loads(read[0])["layers"].keys() == {str(index) for index in range(12)}


def test_a_part_is_stored_where_redis_forgot_the_scripts(by_hand, redis):
    b = by_hand()
    job = b.send_one()
    run = b.start()
    b.add_layer(run, 0)
    redis.script_flush()
    b.add_layer(run, 1)
    b.end(run)
    ended = b.store.get("ada", job.id)
    assert [b.store.read_layer(ended, layer.index) for layer in ended.layers] == [b"layer 0", b"layer 1"]
