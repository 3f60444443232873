"""A flow as one JSON document: what was chained and how, the rollout, the strongest paths, how wide columns are."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from lig_core.errors import InvalidRequest
from lig_core.flow.concentration import concentration
from lig_core.flow.shares import Flow
from lig_core.flow.strongest import Path
from lig_core.result.arrays import Result

UNCERTIFIED = "a step is certified where its column has converged; a path, a product of several columns, never is"


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
