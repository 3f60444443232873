"""How wide the columns of a result's maps are, by layer, and by head where the map has heads.

With p_i = |M[i, j]| / Σ_i |M[i, j]| of a column:

    entropy            −Σ_i p_i ln p_i, in nats
    relative_entropy   the same over the logarithm of how many sources the target sees; 0 where it sees one
    distance           Σ_i p_i |i − j|, in tokens
    self_share         p_j

each a mean over the columns that have converged and in which anything moves; `columns` says how many those are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lig_core.errors import InvalidRequest
from lig_core.flow.shares import as_result, columns_of_shares
from lig_core.result.arrays import Array, LayerArrays, Result

OVER_TOKENS = {"layer": "z2z", "att": "att", "product": "composed.product", "conserving": "composed.conserving"}
MEASURES = ("entropy", "relative_entropy", "distance", "self_share")


def concentration(result: Result | Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each layer, map and head: {layer, map, head, columns, unconverged, and a mean of each measure}.

    head is None but for att; a mean over no columns is None. Maps are those from tokens to tokens. Raises
    InvalidRequest where the result has none of them.
    """
    whole = result if isinstance(result, Result) else as_result(result)
    rows = [row for layer in whole for row in _rows(layer)]
    if not rows:
        raise InvalidRequest("the result has no map from tokens to tokens; explain with att, layer or composed")
    return rows


def _rows(layer: LayerArrays) -> list[dict[str, Any]]:
    rows = []
    for name, tensor in OVER_TOKENS.items():
        if tensor not in layer:
            continue
        converged = layer["composed.converged" if tensor.startswith("composed") else f"{tensor}.converged"]
        maps = layer[tensor] if name == "att" else layer[tensor][None]
        heads = layer.heads if name == "att" else [None]
        for head, values, fine in zip(heads, maps, np.atleast_2d(converged), strict=True):
            rows.append({"layer": layer.index, "map": name, "head": head, **_measured(layer, values, fine)})
    return rows


def _measured(layer: LayerArrays, values: Array, converged: Array) -> dict[str, Any]:
    sizes = np.abs(values.astype(np.float64))
    sources, targets = np.arange(len(sizes))[:, None], layer["targets"][None, :]
    p = columns_of_shares(sizes, sizes.sum(0))
    first, last = layer["visible"] if "visible" in layer else (np.zeros(sizes.shape[1]), len(sizes) - 1)
    seen = np.log(np.maximum(last - first + 1, 1) * np.ones(sizes.shape[1]))
    entropy = -(p * np.log(np.where(p > 0, p, 1.0))).sum(0)
    measures = {
        "entropy": entropy,
        "relative_entropy": np.where(seen > 0, entropy / np.where(seen > 0, seen, 1.0), 0.0),
        "distance": (p * np.abs(sources - targets)).sum(0),
        "self_share": p[targets[0], np.arange(p.shape[1])],
    }
    kept = converged & (sizes.sum(0) > 0)
    means = {name: float(measures[name][kept].mean()) if kept.any() else None for name in MEASURES}
    return {"columns": int(kept.sum()), "unconverged": int((~converged).sum()), **means}
