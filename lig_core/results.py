"""From tensors to arrays, and what is known of a result before any layer is computed: its head."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from lig_core.compose import Comparison, Composition
from lig_core.contract import ExplainRequest
from lig_core.encoding import TextTokens
from lig_core.maps import HeadMap, LayerMap, MlpMap
from lig_core.models import LoadedModel
from lig_core.quadrature import Attribution, Quadrature
from lig_core.result.arrays import DIAGNOSTIC, STATUSES, Array, LayerArrays


@dataclass(frozen=True)
class LayerMaps:
    """What was asked for of one layer; what was not is None."""

    quadrature: Quadrature
    layer: LayerMap | None = None
    att: HeadMap | None = None
    mlp: MlpMap | None = None
    composed: Composition | None = None


def result_head(
    request: ExplainRequest, model: LoadedModel, text: TextTokens, targets: Sequence[int], layers: Sequence[int]
) -> dict[str, Any]:
    """The result document without `layers` and the verdict on them, as JSON-able data."""
    return {
        "text": text.text,
        "tokens": list(text.tokens),
        "token_labels": text.labels,
        "offsets": text.offsets,
        "words": text.words,
        "model": request.model,
        "model_type": model.card.model_type,
        "config": {
            "num_steps": request.num_steps,
            "granularity": list(request.maps),
            "baseline_att": request.baseline_att,
            "baseline_mlp": request.baseline_mlp,
            "baseline_layer": request.baseline_layer,
            "layers": list(layers),
            "target_tokens": list(targets),
            "target_head": request.target_head,
            "include_residual_connection": request.include_residual_connection,
            "u_node": request.u_node,
            "rtol": request.rtol,
            "dtype": request.dtype,
            "merge_subwords": request.merge_subwords,
        },
        "boundaries": model.boundaries(),
        "receipt": _receipt(request, model),
    }


def layer_arrays(
    index: int, maps: LayerMaps, targets: Sequence[int], count: int, dtype: torch.dtype, *, labels: bool = False
) -> LayerArrays:
    """One layer's maps as arrays of the model's precision; `count` tokens are the text's, what follows is padding."""
    precision = np.dtype(str(dtype).removeprefix("torch."))
    arrays: dict[str, Array] = {"targets": np.array(targets, np.int64)}
    engines = {}
    if maps.layer is not None:
        arrays["z2z"] = _array(maps.layer.attribution.values[:, :count].T, precision)
        arrays |= _certificate("z2z", maps.layer.attribution)
        engines["z2z"] = maps.layer.engine
    if maps.att is not None:
        heads = maps.att.heads
        arrays["att.heads"] = np.array(heads, np.int64)
        arrays["att"] = _array(maps.att.values[:, :, :count].permute(1, 2, 0), precision)
        arrays |= _certificate("att", maps.att.attribution, len(heads))
        engines["att"] = maps.att.engine
    if maps.mlp is not None:
        found = maps.mlp.attribution
        arrays["mlp"] = _array(found.values.T, precision)
        arrays |= _certificate("mlp", found)
        arrays["mlp.difference"] = _array(found.values.sum(-1) - found.total, np.float64)
        if maps.mlp.per_head is not None:
            arrays["mlp.per_head"] = _array(maps.mlp.per_head.T, np.float64)
    if maps.composed is not None:
        composed = maps.composed
        arrays["composed.converged"] = composed.converged.numpy()
        for name, values, comparison in (
            ("composed.product", composed.product, composed.product_comparison),
            ("composed.conserving", composed.conserving, composed.conserving_comparison),
        ):
            arrays[name] = _array(values[:, :count].T, precision)
            arrays |= _diagnostic(name, comparison)
    return LayerArrays(index, arrays, maps.quadrature.name, engines, labels)


def _certificate(name: str, found: Attribution, heads: int | None = None) -> dict[str, Array]:
    """[target], or with heads [head, target]."""
    parts = {
        "total": _array(found.total, np.float64),
        "completeness_error": _array(found.completeness_error, np.float64),
        "nodes": _array(found.nodes, np.int64),
        "converged": _array(found.converged, np.bool_),
        "status": np.array([STATUSES.index(status) for status in found.status], np.uint8),
    }
    if heads is not None:  # columns are (target, head), heads varying fastest
        parts = {part: np.ascontiguousarray(array.reshape(-1, heads).T) for part, array in parts.items()}
    return {f"{name}.{part}": array for part, array in parts.items()}


def _diagnostic(name: str, found: Comparison) -> dict[str, Array]:
    columns = zip(DIAGNOSTIC, (found.distance, found.normalised, found.pearson), strict=True)
    return {f"{name}.{part}": _array(values, np.float64) for part, values in columns}


def _array(values: Tensor, dtype: Any) -> Array:
    """In NumPy's hands altogether: torch in float64 mode would not round to float32."""
    return np.ascontiguousarray(values.numpy(), dtype)


def _receipt(request: ExplainRequest, model: LoadedModel) -> dict[str, Any]:
    return {
        "request": request.digest,
        "model": model.card.name,
        "revision": model.revision,
        "files": model.files,
        "dequantised": model.dequantised,
        "tokenizer": type(model.tokenizer).__name__,
        "dtype": request.dtype,
        "device": model.device.type,
        "versions": _versions(),
    }


@cache
def _versions() -> dict[str, str]:
    return {
        "lig-service": version("lig-service"),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
