"""GET /jobs/{id}/events: what happens to a job, as it happens, as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from itertools import chain
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from service.events import ids
from service.events.channel import Listener
from service.events.hub import Hub
from service.http.prefix import Root
from service.http.problems import responses
from service.http.streaming import PIECE, StreamedResponse, cut
from service.jobs.job import Event, Job, JobStore
from service.jobs.resource import job_problem, job_url
from service.keys.guard import Owner
from service.openapi.words import EVENTS_CONTENT, After, JobId, LastEventId, WithMaps
from service.settings import Settings

RETRY = b"retry: 1000\n\n"
COMMENT = b": still here\n\n"


def router(settings: Settings, jobs: JobStore, hub: Hub) -> APIRouter:
    """The route of events."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs/{job_id}/events",
        response_class=StreamedResponse,
        summary="What happens to a job",
        responses={
            200: {
                "description": "Server-sent events, each with an `id` to resume after and one line of JSON: `queued`, "
                "`started`, `progress`, `head` (the result without its layers), `layer` (one layer's maps, as soon as "
                "they are done), and at last `succeeded`, `failed` or `cancelled`. `gap`: older progress between "
                "`after` and `next` is no longer kept. A comment line comes where nothing else does.",
                "content": EVENTS_CONTENT,
            },
            204: {"description": "There is nothing after this event, nor will there be: do not connect again."},
            **responses("job_not_found", "job_expired", "invalid_request", "draining", "store_unavailable"),
        },
    )
    async def events(
        owner: Owner,
        root: Root,
        job_id: JobId,
        after: After = "",
        last_event_id: LastEventId = "",
        layers: WithMaps = True,
    ) -> Response:
        """Everything since the job was accepted, or since an event. A lost connection is resumed after the last event
        that came, from any process of the service."""
        place = _place(last_event_id, after)
        job = await run_in_threadpool(jobs.get, owner, job_id)
        listener = await hub.join(job, place)
        if job.status.final and not listener.pending:
            return Response(status_code=204)
        return StreamedResponse(
            _stream(job, listener, layers, root),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _stream(job: Job, listener: Listener, layers: bool, root: str) -> AsyncIterator[bytes]:
        """All there is to tell goes out together, about a piece at a time: a write for each event costs each
        listener's connection more than the event."""
        unsent = bytearray(RETRY)

        def sent() -> bytes:
            piece = bytes(unsent)
            unsent.clear()
            return piece

        with listener.listening(maps=layers):
            if not listener.pending:
                yield sent()
            async for event in listener.events(settings.event_comment_seconds):
                for piece in await _written(job, event, layers, root):
                    unsent += piece
                    if len(unsent) >= PIECE:
                        yield sent()
                if unsent and not listener.pending:
                    yield sent()
            if unsent:
                yield sent()

    async def _written(job: Job, event: Event | None, layers: bool, root: str) -> Iterable[bytes]:
        if event is None:
            return (COMMENT,)
        large = event.kind == "head" or (event.kind == "layer" and layers)
        data = (await hub.bodies.get(job, event)).data if large else orjson.dumps(_event_data(job, event, root))
        return chain((_beginning(event),), cut(data), (b"\n\n",))

    return routes


def _place(header: str, query: str) -> str | None:
    """The place to go on from. Both are checked, whichever holds: browsers send an empty header without an id."""
    cursors = ((header, "/header/Last-Event-ID"), (query, "/query/after"))
    places = [ids.parse(text, pointer) for text, pointer in cursors if text]
    return places[0] if places else None


def _beginning(event: Event) -> bytes:
    return f"id: {event.id}\nevent: {event.kind}\ndata: ".encode()


def _event_data(job: Job, event: Event, root: str) -> dict[str, Any]:
    """The data of an event as clients see it."""
    if event.kind == "layer":
        return {"layer": event.data["index"]}
    if event.kind == "succeeded":
        return {**event.data, "result": f"{job_url(job.id, root)}/result"}
    if event.kind == "failed":
        return job_problem(job, event.data, root)
    return event.data
