"""Changes of jobs, as they are told to those who wait."""

import asyncio

import pytest

from service.jobs.redis import JobChanges
from tests.running.waiting import PATIENCE


@pytest.mark.parametrize("turns", range(12))
def test_listening_ends_at_whatever_moment_it_is_told_to(redis_url, turns):
    async def scenario():
        async with JobChanges(redis_url, "lig").listening():
            for _ in range(turns):  # of the event loop, in which it connects and subscribes
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))
