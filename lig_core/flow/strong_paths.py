"""The strongest paths through single heads, as steps in the format of the authors' strong paths.

A layer is passed in two steps by the same head h: `attn`, from token i into the head's output at token j, and `mlp`,
from there to z'_j. With ATT_h the head's z→u map and MLP[j, h] its part of u→z' (u = heads):

    share of attn   ATT_h[i→j] / Σ_i ATT_h[i→j]
    share of mlp    MLP[j, h] / total_j            the head's share of the token's u→z' total
    influence       of an mlp step its share; of an attn step both shares multiplied

A path's score is the product of its steps' shares, that is of the influences of its attn steps. Summed over heads, the
influences of the attn steps i → j are the `conserving` composition over its total: no path goes through a head whose
sum is not known. The residual connection is no step:
with u = heads it is held fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lig_core.errors import InvalidRequest
from lig_core.flow.shares import as_result, columns_of_shares, require_whole
from lig_core.flow.strongest import Trail, strongest
from lig_core.result.arrays import DOUBT, Array, LayerArrays, Result, head_shares


def strong_paths(
    result: Result | Mapping[str, Any], *, source: int | None = None, target: int | None = None, top: int = 10
) -> list[dict[str, Any]]:
    """The `top` strongest paths through heads, strongest first: {score, certified, steps}.

    Each step is {layer, token, target_token, head, mlp_head, type, influence, certified}, tokens and heads as indices.
    A path is never certified; a step is, where the columns that it is made of have converged, and of an attn step the
    head's sum, which divides them, is known as well. Takes a result of att
    (every head) and mlp with u_node heads, for all targets, of consecutive layers; raises InvalidRequest otherwise.
    """
    whole = result if isinstance(result, Result) else as_result(result)
    indices = sorted(whole.indices)
    if indices != list(range(indices[0], indices[-1] + 1)):
        raise InvalidRequest(f"layers {indices} do not follow on one another; explain all between their ends")
    count, rtol = len(whole.head["tokens"]), whole.head["config"]["rtol"]
    layers = [_HeadShares.of(whole.load(index), count, rtol) for index in indices]
    trails = strongest([layer.influence for layer in layers], source=source, target=target, top=top)
    return [{"score": trail.score, "certified": False, "steps": _steps(layers, trail)} for trail in trails]


class _HeadShares:
    """One layer: `influence` [head, source, target] of attn steps, `passed` [head, target] of mlp steps.

    `certified` [head, target]: a head's shares are as exact as a composition asks of them.
    """

    def __init__(self, layer: LayerArrays, influence: Array, passed: Array, certified: Array) -> None:
        self.index, self.influence, self.passed = layer.index, influence, passed
        self.mlp_converged = layer["mlp.converged"]
        self.att_certified = layer["att.converged"] & certified

    @classmethod
    def of(cls, layer: LayerArrays, count: int, rtol: float) -> _HeadShares:
        for tensor in ("att", "mlp.per_head"):
            require_whole(layer, tensor, count)
        if layer.heads != list(range(len(layer["mlp.per_head"]))):
            raise InvalidRequest("strong paths go through every head; explain without target_head")
        certificate = (layer[f"att.{part}"] for part in ("total", "entry_error", "status"))
        shares, error = head_shares(np.moveaxis(layer["att"].astype(np.float64), 1, -1), *certificate)
        passed = columns_of_shares(layer["mlp.per_head"], layer["mlp.total"])
        return cls(layer, np.moveaxis(shares, -1, 1) * passed[:, None, :], passed, error <= DOUBT * rtol)


def _steps(layers: list[_HeadShares], trail: Trail) -> list[dict[str, Any]]:
    steps = []
    for layer, head, i, j in zip(layers, trail.ways, trail.tokens, trail.tokens[1:], strict=False):
        passed = bool(layer.mlp_converged[j])
        about = {"layer": layer.index, "target_token": j, "head": head, "mlp_head": head}
        attn, mlp = float(layer.influence[head, i, j]), float(layer.passed[head, j])
        certified = passed and bool(layer.att_certified[head, j])
        steps.append({**about, "token": i, "type": "attn", "influence": attn, "certified": certified})
        steps.append({**about, "token": j, "type": "mlp", "influence": mlp, "certified": passed})
    return steps
