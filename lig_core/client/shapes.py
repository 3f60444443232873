"""The JSON objects that the service answers with, as far as the client names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NotRequired, TypedDict

from lig_core.contract import Progress

BytesFormat = Literal["ndjson", "npz", "safetensors", "html"]
Format = Literal["json"] | BytesFormat
Report = Callable[[Progress], None]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "npz": "application/x-npz",
    "safetensors": "application/vnd.safetensors",
    "html": "text/html",
}


class Slice(TypedDict, total=False):
    """A part of a result: of which layers, target tokens, heads and maps, and only the `top_k` largest sources."""

    layers: Sequence[int]
    targets: Sequence[int]
    heads: Sequence[int]
    maps: Sequence[str]
    top_k: int


class Job(TypedDict):
    """A job; `result` is there when it was asked for and small, `problem` when the job failed."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    created_at: str
    started_at: str | None
    finished_at: str | None
    queue_position: int | None
    attempts: int
    cancel_requested: bool
    progress: dict[str, Any]
    converged: bool | None
    links: dict[str, str | None]
    result: NotRequired[dict[str, Any]]
    problem: NotRequired[dict[str, Any]]


class Batch(TypedDict):
    """The jobs of one batch, in the order of its texts."""

    group: str
    jobs: list[Job]


class ModelSummary(TypedDict):
    """A model that needs no download."""

    id: str
    model_type: str
    num_layers: int | None
    num_heads: int | None
    positions: int | None
    supported_granularity: list[str]
