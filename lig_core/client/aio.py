"""The client for asyncio and trio: `Client`, with `await` before every call and `async for` over iterators."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import anyio
import anyio.to_thread
import httpx
from httpx_sse import EventSource

from lig_core.client import calls
from lig_core.client.answers import is_final, require_success
from lig_core.client.calls import Call
from lig_core.client.connection import DEFAULT_URL, connection
from lig_core.client.events import Event, Following, has_no_events
from lig_core.client.files import format_of, replacing
from lig_core.client.retries import Attempts, RetryPolicy
from lig_core.client.shapes import Batch, BytesFormat, Format, Job, ModelSummary, Report, Slice
from lig_core.client.waiting import Waiting, deadline
from lig_core.contract import ExplainRequest
from lig_core.errors import ServiceError
from lig_core.result.unconverged import warn_unconverged
from lig_core.result.viewer.show import Explanation

T = TypeVar("T")


class AsyncClient:
    """Talks to one service. Every method raises ServiceError for a problem, ServiceUnreachable for silence.

    `api_key` is sent as a bearer token; absent: the variable LIG_API_KEY. After a lost connection, 429 or 503 a
    call is repeated up to `max_retries` times, as late as the service says, unless that exceeds `retry_seconds`.
    """

    def __init__(
        self,
        base_url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        max_retries: int = 5,
        retry_seconds: float = 300.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._policy = RetryPolicy(max_retries, retry_seconds)
        self._http = httpx.AsyncClient(**connection(base_url, api_key), transport=transport)

    def with_retries(self, max_retries: int, retry_seconds: float) -> Self:
        """The same client, over the same connections, of another patience."""
        other = copy(self)
        other._policy = RetryPolicy(max_retries, retry_seconds)
        return other

    async def explain(
        self,
        request: ExplainRequest | str | None = None,
        *,
        on_progress: Report | None = None,
        timeout: float | None = None,
        fresh: bool = False,
        **fields: Any,
    ) -> Explanation:
        """Send a text or a request, wait for the end, and return the result, which notebooks show.

        `fields` are those of ExplainRequest, `tokens` in place of a text among them; `fresh` forces a new computation
        where a result is stored.
        `timeout` is in seconds; TimeoutError leaves the job running. A result that has not converged is warned of, once
        a call, with NotConvergedWarning, unless `on_unconverged` says otherwise.
        """
        end = deadline(timeout)
        job = await self._answer(calls.submit(request, fields, None, fresh), end)
        if not is_final(job):
            left = None if end is None else max(0.0, end - time.monotonic())
            job = await self.wait(job["id"], on_progress=on_progress, timeout=left)
        require_success(job)
        result = Explanation(job["result"]) if "result" in job else await self.result(job["id"])
        warn_unconverged(calls.on_unconverged(request, fields), result, stacklevel=2)
        return result

    async def submit(
        self,
        request: ExplainRequest | str | None = None,
        *,
        idempotency_key: str | None = None,
        fresh: bool = False,
        **fields: Any,
    ) -> Job:
        """Queue a text or a request; returns the job at once.

        Repeating a call with the same `idempotency_key` queues nothing new; absent: one is made for this call, so
        that its own repetitions queue nothing new.
        """
        return await self._answer(calls.submit(request, fields, idempotency_key, fresh))

    async def batch(
        self, texts: Sequence[str], *, idempotency_key: str | None = None, fresh: bool = False, **options: Any
    ) -> Batch:
        """Queue many texts with the same options (fields of ExplainRequest, without `text`): one job each."""
        return await self._answer(calls.batch(texts, options, idempotency_key, fresh))

    async def experiment(
        self,
        sentences: Sequence[str | Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        fresh: bool = False,
        **options: Any,
    ) -> Job:
        """Queue some sentences, 16 at most, to be measured together: one job, whose result is read as any other's.

        A sentence is a text, or a mapping with `words`, `heads` and `relations`; `options` are those of POST
        /v1/experiments.
        """
        return await self._answer(calls.experiment(sentences, options, idempotency_key, fresh))

    async def estimate(self, request: ExplainRequest | str | None = None, **fields: Any) -> dict[str, Any]:
        """The cost of a request, in tokens, nodes, operations, bytes and seconds; queues nothing."""
        return await self._answer(calls.estimate(request, fields))

    async def job(self, job_id: str, *, wait: float = 0.0) -> Job:
        """A job as it stands, without its result; waits up to `wait` seconds for it to end first."""
        return await self._answer(calls.job(job_id, wait))

    async def jobs(self, *, limit: int = 50) -> AsyncGenerator[Job, None]:
        """The jobs of this key, asked for `limit` at a time while they are read."""
        cursor: str | None = None
        while True:
            page, cursor = await self._answer(calls.jobs(limit, cursor))
            for job in page:
                yield job
            if cursor is None:
                return

    async def wait(self, job_id: str, *, on_progress: Report | None = None, timeout: float | None = None) -> Job:
        """Wait until a job ended and return it; raises TimeoutError after `timeout` seconds.

        `on_progress` is called whenever the progress differs from what it was told last: as it happens, or once a
        second where there is a timeout or the service tells no events.
        """
        waiting = Waiting(job_id, on_progress, timeout)
        if waiting.follows_events:
            try:
                async with aclosing(self.events(job_id, layers=False)) as events:
                    async for event in events:
                        waiting.tell(event.progress)
            except ServiceError as error:
                if not has_no_events(error):
                    raise
        while True:
            job = await self._answer(calls.job(job_id, waiting.patience()), waiting.deadline)
            if waiting.is_over(job):
                return job

    async def events(
        self, job_id: str, *, after: str | None = None, layers: bool = True
    ) -> AsyncGenerator[Event, None]:
        """The events of a job, from its beginning or from the event `after`, each once, until the final one.

        Resumes by itself after a lost connection. `layers=False` leaves the maps of the layers out.
        """
        following = Following(job_id, after=after, layers=layers)
        while not following.over:
            # An error here is a lost connection; that nobody answers at all is ServiceUnreachable by now.
            with suppress(httpx.TransportError):
                async with aclosing(await self._open(following.call())) as response:
                    if following.opened(response):
                        async with aclosing(EventSource(response).aiter_sse()) as stream:
                            async for received in stream:
                                event = following.take(received)
                                if event is not None:
                                    yield event
                                if following.over:
                                    break
            if not following.over:
                await anyio.sleep(following.pause)

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job and return it; a running one stops a moment after. Raises ServiceError if it has ended."""
        return await self._answer(calls.cancel(job_id))

    async def delete(self, job_id: str) -> None:
        """Cancel a job and forget it, its text and its result."""
        await self._answer(calls.delete(job_id))

    @overload
    async def result(self, job_id: str, *, format: Literal["json"] = ..., **part: Unpack[Slice]) -> Explanation: ...
    @overload
    async def result(self, job_id: str, *, format: BytesFormat, **part: Unpack[Slice]) -> bytes: ...
    async def result(self, job_id: str, *, format: Format = "json", **part: Unpack[Slice]) -> Explanation | bytes:
        """The result of a job that succeeded, or a part of it: for JSON a dict that notebooks show, else bytes."""
        answer: dict[str, Any] | bytes = await self._answer(calls.result(job_id, format, part))
        return answer if isinstance(answer, bytes) else Explanation(answer)

    async def download(
        self, job_id: str, to: Path | str, *, format: Format | None = None, **part: Unpack[Slice]
    ) -> Path:
        """Write a result to a file as it arrives; absent, the format is the one that the file's name ends with."""
        path = Path(to)
        call = calls.download(job_id, format or format_of(path), part)
        attempts = Attempts(call, self._policy)
        while True:
            try:
                async with aclosing(await self._open(call)) as response:
                    call.read(response)
                    with replacing(path) as file:
                        async for chunk in response.aiter_bytes():
                            await anyio.to_thread.run_sync(file.write, chunk)
                return path
            except httpx.RequestError as error:
                pause = attempts.after_silence(error)
            await anyio.sleep(pause)

    async def diff(self, a: str, b: str) -> dict[str, Any]:
        """The differences between the results of two jobs, layer by layer."""
        return await self._answer(calls.diff(a, b))

    @overload
    async def flow(self, job_id: str, *, format: Literal["json"] = ..., **options: Any) -> dict[str, Any]: ...
    @overload
    async def flow(self, job_id: str, *, format: Literal["graphml"], **options: Any) -> bytes: ...
    async def flow(
        self, job_id: str, *, format: Literal["json", "graphml"] = "json", **options: Any
    ) -> dict[str, Any] | bytes:
        """The flow across the layers of a result, as `lig flow` writes it; GraphML as bytes.

        `options` are those of GET /v1/jobs/{job_id}/flow: map, source, target, top, layers and so on.
        """
        answer: dict[str, Any] | bytes = await self._answer(calls.flow(job_id, format, options))
        return answer

    async def models(self) -> list[ModelSummary]:
        """The models that need no download."""
        return await self._answer(calls.models())

    async def boundaries(self, model: str) -> dict[str, Any]:
        """The places of z, u and z' in a model, and the maps that it supports."""
        return await self._answer(calls.boundaries(model))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _answer(self, call: Call[T], deadline: float | None = None) -> T:
        return call.read(await self._open(call, deadline))

    async def _open(self, call: Call[T], deadline: float | None = None) -> httpx.Response:
        """Send until there is an answer. What a streamed call is answered is left to the caller to read and close."""
        attempts = Attempts(call, self._policy, deadline)
        while True:
            try:
                response = await self._http.send(call.request(self._http), stream=call.streamed)
                if not response.is_success:
                    await response.aread()
                pause = attempts.after(response)
            except httpx.RequestError as error:
                pause = attempts.after_silence(error)
            if pause is None:
                return response
            await anyio.sleep(pause)
