"""Changes of jobs, as they are told to those who wait."""

import asyncio

import pytest

from lig_core.serving.queue.names import key
from service.jobs import redis as redis_changes
from service.jobs.redis import JobChanges
from tests.running.waiting import PATIENCE


@pytest.mark.parametrize("turns", range(12))
def test_listening_ends_at_whatever_moment_it_is_told_to(redis_url, turns):
    async def scenario():
        async with JobChanges(redis_url, "lig").listening():
            for _ in range(turns):  # of the event loop, in which it connects and subscribes
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(redis_changes, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(redis_changes, "RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr(redis_changes, "LOOK_ANYWAY_SECONDS", 2 * PATIENCE)


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_gives_no_sign_of_life_is_replaced_and_all_who_wait_look(redis_url, redis):
    async def scenario():
        changes = JobChanges(redis_url, "lig")
        async with changes.listening():
            with changes.watch("one") as watch:
                await watch.changed(PATIENCE)  # it has begun to listen
                redis.client_pause(500, all=True)
                await asyncio.wait_for(watch.changed(PATIENCE), PATIENCE)

    asyncio.run(scenario())


def test_who_waits_for_the_end_is_not_woken_by_what_comes_before(redis_url, redis, monkeypatch):
    monkeypatch.setattr(redis_changes, "LOOK_ANYWAY_SECONDS", 2 * PATIENCE)
    channel = key("channel", "lig", "one")

    async def scenario():
        changes = JobChanges(redis_url, "lig")
        async with changes.listening():
            with changes.watch("one", end=True) as end, changes.watch("one") as any_change:
                await end.changed(PATIENCE)
                await any_change.changed(PATIENCE)
                waiting = asyncio.create_task(end.changed(PATIENCE))
                redis.publish(channel, "layer")
                await any_change.changed(PATIENCE)
                await asyncio.sleep(0)
                assert not waiting.done()
                redis.publish(channel, "")
                await asyncio.wait_for(waiting, PATIENCE)

    asyncio.run(scenario())
