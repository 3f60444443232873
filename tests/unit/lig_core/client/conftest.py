"""Both clients over canned answers, behind one blocking surface: every test holds for both."""

import asyncio
import inspect

import httpx
import pytest

from lig_core.client import AsyncClient, Client, retries


class BlockingAsyncClient:
    """AsyncClient as Client: coroutines are run to their end, async iterators step by step."""

    def __init__(self, *arguments, **options):
        self._client = AsyncClient(*arguments, **options)
        self._runner = asyncio.Runner()

    def with_retries(self, *patience):
        other = object.__new__(BlockingAsyncClient)
        other._client, other._runner = self._client.with_retries(*patience), self._runner
        return other

    def __getattr__(self, name):
        def call(*arguments, **options):
            found = getattr(self._client, name)(*arguments, **options)
            return self._steps(found) if inspect.isasyncgen(found) else self._runner.run(found)

        return call

    def _steps(self, iterator):
        async def step():
            return await anext(iterator)

        try:
            while True:
                yield self._runner.run(step())
        except StopAsyncIteration:
            return
        finally:
            self._runner.run(iterator.aclose())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._runner.run(self._client.aclose())
        self._runner.close()


KINDS = {"sync": Client, "async": BlockingAsyncClient}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(retries, "BACKOFF_SECONDS", 0.0)


@pytest.fixture(params=KINDS)
def connect(request):
    """Makes a client of either kind, which is closed afterwards."""
    made = []

    def make(*arguments, **options):
        made.append(KINDS[request.param](*arguments, **options))
        return made[-1]

    yield make
    for client in made:
        client.__exit__(None, None, None)


@pytest.fixture
def asked():
    """The requests that were sent."""
    return []


@pytest.fixture
def client(connect, asked):
    """Makes a client that is answered with these, one after the other; exceptions are raised."""

    def make(*answers, **options):
        left = list(answers)

        def answer(request):
            asked.append(request)
            found = left.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        return connect("http://service", transport=httpx.MockTransport(answer), **options)

    return make
