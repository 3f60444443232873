"""From tensors to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lig_core.maps.compose import Comparison, Composition
from lig_core.maps.integrated import HeadMap, LayerMap, MlpMap
from lig_core.quadrature import Attribution, Quadrature
from lig_core.result.arrays import DIAGNOSTIC, IN_FLOAT64, Array, LayerArrays, codes


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer that were asked for; None for those that were not."""

    quadrature: Quadrature
    replay_error: float
    layer: LayerMap | None = None
    att: HeadMap | None = None
    mlp: MlpMap | None = None
    composed: Composition | None = None
    visible: Tensor | None = None


def layer_arrays(
    index: int, maps: LayerMaps, targets: Sequence[int], dtype: torch.dtype, *, labels: bool = False
) -> LayerArrays:
    """One layer's maps as arrays of the model's precision."""
    precision = np.dtype(str(dtype).removeprefix("torch."))
    arrays: dict[str, Array] = {"targets": np.array(targets, np.int64)}
    if maps.visible is not None:
        arrays["visible"] = _array(maps.visible, np.int64)
    engines = {}
    if maps.layer is not None:
        arrays["z2z"] = _array(maps.layer.attribution.values.T, precision)
        arrays |= _certificate("z2z", maps.layer.attribution)
        engines["z2z"] = maps.layer.engine
    if maps.att is not None:
        heads = maps.att.heads
        arrays["att.heads"] = np.array(heads, np.int64)
        arrays["att"] = _array(maps.att.values.permute(1, 2, 0), precision)
        arrays |= _certificate("att", maps.att.attribution, len(heads))
        engines["att"] = maps.att.engine
    if maps.mlp is not None:
        attribution = maps.mlp.attribution
        arrays["mlp"] = _array(attribution.values.T, precision)
        arrays |= _certificate("mlp", attribution)
        arrays["mlp.difference"] = _array(attribution.values.sum(-1) - attribution.total, np.float64)
        if maps.mlp.per_head is not None:
            arrays["mlp.per_head"] = _array(maps.mlp.per_head.T, np.float64)
    if maps.composed is not None:
        composed = maps.composed
        arrays["composed.converged"] = composed.converged.numpy()
        arrays["composed.product"] = _array(composed.product.T, precision)
        arrays |= _diagnostic("composed.product", composed.product_comparison)
        arrays["composed.conserving"] = _array(composed.conserving.T, precision)
        arrays |= _diagnostic("composed.conserving", composed.conserving_comparison)
        for part in ("", *(f".{part}" for part in DIAGNOSTIC)):
            arrays[f"composed.conserving{part}"][..., ~composed.known.numpy()] = np.nan
    return LayerArrays(index, arrays, maps.quadrature.name, engines, labels, maps.replay_error)


def _certificate(name: str, attribution: Attribution, heads: int | None = None) -> dict[str, Array]:
    """[target], or with heads [head, target]."""
    parts = {
        "total": _array(attribution.total, np.float64),
        "completeness_error": _array(attribution.completeness_error, np.float64),
        "entry_error": _array(attribution.entry_error, np.float64),
        "nodes": _array(attribution.nodes, np.int64),
        "converged": _array(attribution.converged, np.bool_),
        "status": codes(attribution.status),
    }
    if attribution.in_float64 is not None and attribution.in_float64.any():
        parts[IN_FLOAT64] = _array(attribution.in_float64, np.bool_)
    if heads is not None:  # columns are (target, head), heads varying fastest
        parts = {part: np.ascontiguousarray(array.reshape(-1, heads).T) for part, array in parts.items()}
    return {f"{name}.{part}": array for part, array in parts.items()}


def _diagnostic(name: str, comparison: Comparison) -> dict[str, Array]:
    columns = zip(DIAGNOSTIC, (comparison.distance, comparison.normalised, comparison.pearson), strict=True)
    return {f"{name}.{part}": _array(values, np.float64) for part, values in columns}


def _array(values: Tensor, dtype: Any) -> Array:
    """In NumPy's hands altogether: torch in float64 mode would not round to float32."""
    return np.ascontiguousarray(values.numpy(), dtype)
