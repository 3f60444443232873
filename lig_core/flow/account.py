"""A flow as one JSON document: what was chained and how, the rollout, the strongest paths, how wide columns are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from lig_core.errors import InvalidRequest
from lig_core.flow.concentration import concentration
from lig_core.flow.shares import Flow, FlowMap, Normalisation
from lig_core.flow.strongest import Path
from lig_core.result.arrays import Result
from lig_core.result_schema import Receipt

UNCERTIFIED = "a step is certified where its column has converged; a path, a product of several columns, never is"


class PathStep(BaseModel):
    """One entry of one layer's map, with the certificate of its column."""

    layer: int
    source: int
    target: int
    share: float
    value: float
    certified: bool
    status: str | None = Field(None, description="Of the layer map; a composition has none of its own.")


class FlowPath(BaseModel):
    """One token at every level; `score` is the product of the shares of its steps."""

    score: float
    certified: Literal[False]
    tokens: list[int]
    steps: list[PathStep]


class Concentration(BaseModel):
    """How wide the columns of a map are, as means over those that have converged; null over none."""

    layer: int
    map: str
    head: int | None = None
    columns: int
    unconverged: int
    entropy: float | None = Field(None, description="In nats.")
    relative_entropy: float | None = None
    distance: float | None = Field(None, description="In tokens.")
    self_share: float | None = None


class FlowAccount(BaseModel):
    """Shares of one map, chained across consecutive layers."""

    text: str
    tokens: list[str]
    model: str
    map: FlowMap
    baseline: str
    normalised_by: Normalisation
    own_share: str = Field(description="What of a token is its own, in words.")
    layers: list[int]
    certified: str
    source: int | None = None
    target: int | None = None
    paths: list[FlowPath] = Field(description="Strongest first, by the absolute value of the product of shares.")
    rollout: list[list[float]] | None = Field(
        None,
        description="[source][target], from before the first layer to after the last; null where there can be none.",
    )
    no_rollout: str | None = Field(None, description="Why there is no rollout, and what to ask for.")
    concentration: list[Concentration]
    receipt: Receipt


class FlowGraph(BaseModel):
    """The shares themselves, in networkx's node-link form: a node for each token at each level, an edge for each."""

    directed: bool
    multigraph: bool
    graph: dict[str, Any] = Field(description="What was chained, and how.")
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]


def account(result: Result, flow: Flow, *, source: int | None, target: int | None, top: int) -> dict[str, Any]:
    """The document. `rollout` is [source][target] over all layers; None, with `no_rollout`, where there can be none."""
    document: dict[str, Any] = {
        "text": flow.head["text"],
        "tokens": list(flow.head["tokens"]),
        "model": flow.head["model"],
        "map": flow.map,
        "baseline": flow.baseline,
        "normalised_by": flow.normalised_by,
        "own_share": flow.own_share,
        "layers": [layer.layer for layer in flow.layers],
        "certified": UNCERTIFIED,
        "source": source,
        "target": target,
        "paths": [_path(path) for path in flow.paths(source=source, target=target, top=top)],
    }
    try:
        document["rollout"] = flow.rollout()[-1].tolist()
    except InvalidRequest as error:
        document |= {"rollout": None, "no_rollout": error.detail}
    return {**document, "concentration": concentration(result), "receipt": flow.head["receipt"]}


def _path(path: Path) -> dict[str, Any]:
    steps = [asdict(step) for step in path.steps]
    return {"score": path.score, "certified": False, "tokens": list(path.tokens), "steps": steps}
