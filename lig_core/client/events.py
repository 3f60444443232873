"""The events of a job (server-sent events), and where to resume after a lost connection. Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import orjson
from httpx_sse import ServerSentEvent

from lig_core.client.answers import foreign, media_type
from lig_core.client.calls import Call
from lig_core.contract import Progress
from lig_core.errors import ServiceError

FINAL = frozenset({"succeeded", "failed", "cancelled"})
MEDIA_TYPE = "text/event-stream"
SILENCE_SECONDS = 45.0
"""After so long without a byte the connection is taken for lost: the service sends a comment every 15 s."""

RECONNECT_SECONDS = 1.0
"""Pause before resuming, until the service names another."""


@dataclass(frozen=True)
class Event:
    """Something that happened to a job: `queued`, `started`, `progress`, `head`, `layer`, `gap`, or a final one."""

    id: str
    name: str
    data: dict[str, Any]

    @property
    def final(self) -> bool:
        """True if no event follows this one."""
        return self.name in FINAL

    @property
    def progress(self) -> Progress | None:
        """The job's progress, where the event brings it."""
        if self.name == "queued":
            return Progress(phase="queued", done=0, total=0)
        return Progress.model_validate(self.data) if self.name == "progress" else None


class Following:
    """One listener's place in the events of a job, across as many connections as it takes."""

    def __init__(self, job_id: str, *, after: str | None = None, layers: bool = True) -> None:
        self._path = f"/v1/jobs/{quote(job_id, safe='')}/events"
        self._layers = layers
        self._last = after
        self.over = False
        self.pause = RECONNECT_SECONDS

    def call(self) -> Call[bool]:
        """The request that goes on where the last connection ended."""
        headers = {"Accept": MEDIA_TYPE, "Cache-Control": "no-store"}
        if self._last is not None:
            headers["Last-Event-ID"] = self._last
        query = {} if self._layers else {"layers": "false"}
        return Call(
            "GET", self._path, self.opened, params=query, headers=headers, patience=SILENCE_SECONDS, streamed=True
        )

    def opened(self, response: httpx.Response) -> bool:
        """True if the answer brings events; 204 says that all have been told."""
        self.over = response.status_code == httpx.codes.NO_CONTENT
        if not self.over and media_type(response) != MEDIA_TYPE:
            raise foreign(response)
        return not self.over

    def take(self, received: ServerSentEvent) -> Event | None:
        """The event received, if it is one for the listener."""
        if received.retry is not None:
            self.pause = received.retry / 1000
        if not received.data:  # not an event but a comment, or the `retry` alone
            return None
        event = Event(received.id, received.event, orjson.loads(received.data))
        self._last = event.id or self._last
        self.over = event.final
        return event if self._layers or event.name != "layer" else None


def has_no_events(error: ServiceError) -> bool:
    """True if a refusal means that this service tells no events, or that there is no such job."""
    return error.problem.get("status") in {404, 405, 406}
