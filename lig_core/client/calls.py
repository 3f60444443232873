"""Every call of the service's API: what is sent, and how its answer is read. Sends nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar, cast
from urllib.parse import quote

import httpx

from lig_core.client.answers import foreign, media_type, read_json
from lig_core.client.shapes import MEDIA_TYPES, Batch, Format, Job, ModelSummary, Slice
from lig_core.contract import ExplainRequest
from lig_core.errors import InvalidRequest

ANSWER_SECONDS = 30.0
"""Seconds that the service may take to answer, on top of a wait that was asked for."""

BUSY = frozenset({429, 503})
STILL_ACCEPTING = 409
"""The answer to a repeated POST while the first one with its idempotency key is still being worked on."""

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request. `again` are the statuses after which it is worth repeating; `fine_if_repeated` are refusals that
    mean an earlier try, whose answer was lost, has done the work.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    patience: float = ANSWER_SECONDS
    streamed: bool = False
    again: frozenset[int] = BUSY
    fine_if_repeated: frozenset[int] = frozenset()

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """The request as httpx sends it."""
        return http.build_request(
            self.method,
            self.path,
            params=self.params or None,
            headers=self.headers,
            json=self.body,
            timeout=httpx.Timeout(ANSWER_SECONDS, read=self.patience),
        )


def submit(request: ExplainRequest | str | None, fields: Mapping[str, Any], key: str | None, fresh: bool) -> Call[Job]:
    """POST /v1/explain."""
    return _post("/v1/explain", explain_body(request, fields), read_json, key or _new_key(), fresh)


def estimate(request: ExplainRequest | str | None, fields: Mapping[str, Any]) -> Call[dict[str, Any]]:
    """POST /v1/explain/estimate."""
    return Call("POST", "/v1/explain/estimate", read_json, body=explain_body(request, fields))


def batch(texts: Sequence[str], options: Mapping[str, Any], key: str | None, fresh: bool) -> Call[Batch]:
    """POST /v1/explain/batch."""
    if isinstance(texts, str):
        raise InvalidRequest("a batch takes a list of texts; send one text with submit()")
    body = {"texts": list(texts), "options": dict(options)}
    return _post("/v1/explain/batch", body, read_json, key or _new_key(), fresh)


def experiment(
    sentences: Sequence[str | Mapping[str, Any]], options: Mapping[str, Any], key: str | None, fresh: bool
) -> Call[Job]:
    """POST /v1/experiments."""
    body = {"sentences": [{"text": one} if isinstance(one, str) else dict(one) for one in sentences], **options}
    return _post("/v1/experiments", body, read_json, key or _new_key(), fresh)


def job(job_id: str, wait: float) -> Call[Job]:
    """GET /v1/jobs/{id}, without the result."""
    query = {"wait": f"{wait:g}", "embed": "false"}
    return Call("GET", _job_path(job_id), read_json, params=query, patience=wait + ANSWER_SECONDS)


def jobs(limit: int, cursor: str | None) -> Call[tuple[list[Job], str | None]]:
    """GET /v1/jobs: one page, and the cursor of the next one."""
    query = {"limit": str(limit), **({"cursor": cursor} if cursor else {})}
    return Call("GET", "/v1/jobs", _page, params=query)


def result(job_id: str, form: Format, part: Slice) -> Call[Any]:
    """GET /v1/jobs/{id}/result, whole or a part of it: a dict for JSON, bytes for every other format."""
    return _result(job_id, form, part, lambda response: read_json(response) if form == "json" else response.content)


def download(job_id: str, form: Format, part: Slice) -> Call[None]:
    """The same, its body left for the caller to stream."""
    return replace(_result(job_id, form, part, _nothing), streamed=True)


def diff(a: str, b: str) -> Call[dict[str, Any]]:
    """GET /v1/diff."""
    return Call("GET", "/v1/diff", read_json, params={"a": a, "b": b})


def flow(job_id: str, form: Literal["json", "graphml"], options: Mapping[str, Any]) -> Call[Any]:
    """GET /v1/jobs/{id}/flow: a dict for JSON, bytes for GraphML."""
    accept = {"json": "application/json", "graphml": "application/graphml+xml"}[form]
    query = {name: _query(value) for name, value in options.items() if value is not None}
    read = read_json if form == "json" else _content
    return Call("GET", _job_path(job_id) + "/flow", read, params=query, headers={"Accept": accept})


def cancel(job_id: str) -> Call[Job]:
    """POST /v1/jobs/{id}/cancel."""
    return Call("POST", _job_path(job_id) + "/cancel", read_json)


def delete(job_id: str) -> Call[None]:
    """DELETE /v1/jobs/{id}."""
    return Call("DELETE", _job_path(job_id), _nothing, fine_if_repeated=frozenset({404}))


def models() -> Call[list[ModelSummary]]:
    """GET /v1/models."""
    return Call("GET", "/v1/models", lambda response: cast("list[ModelSummary]", read_json(response)["models"]))


def boundaries(model: str) -> Call[dict[str, Any]]:
    """GET /v1/models/{id}/boundaries."""
    return Call("GET", f"/v1/models/{quote(model, safe='/@')}/boundaries", read_json)


def explain_body(request: ExplainRequest | str | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A request as JSON, without the defaults: those are the service's."""
    if isinstance(request, ExplainRequest):
        return {**request.model_dump(mode="json", exclude_unset=True), **fields}
    return dict(fields) if request is None else {"text": request, **fields}


def on_unconverged(request: ExplainRequest | str | None, fields: Mapping[str, Any]) -> str:
    """The `on_unconverged` of a request, or its default."""
    default = request.on_unconverged if isinstance(request, ExplainRequest) else "warn"
    return str(fields.get("on_unconverged", default))


def _post(path: str, body: Any, read: Callable[[httpx.Response], T], key: str, fresh: bool) -> Call[T]:
    headers = {"Idempotency-Key": key, **({"Cache-Control": "no-cache"} if fresh else {})}
    return Call("POST", path, read, body=body, headers=headers, again=BUSY | {STILL_ACCEPTING})


def _result(job_id: str, form: Format, part: Slice, read: Callable[[httpx.Response], T]) -> Call[T]:
    def read_checked(response: httpx.Response) -> T:
        if media_type(response) != MEDIA_TYPES[form]:
            raise foreign(response)
        return read(response)

    query = {name: str(value) if isinstance(value, int) else _listed(value) for name, value in part.items()}
    headers = {"Accept": MEDIA_TYPES[form]}
    return Call("GET", _job_path(job_id) + "/result", read_checked, params=query, headers=headers)


def _listed(values: object) -> str:
    return ",".join(map(str, cast("Sequence[object]", values)))


def _new_key() -> str:
    return uuid.uuid4().hex


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _page(response: httpx.Response) -> tuple[list[Job], str | None]:
    following = response.links.get("next", {}).get("url")
    # The cursor alone: a link may name another host than the one that this client was told to trust.
    cursor = httpx.URL(following).params.get("cursor") if following else None
    return read_json(response)["jobs"], cursor


def _query(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else _listed(value)


def _content(response: httpx.Response) -> bytes:
    return response.content


def _nothing(response: httpx.Response) -> None:
    return None
