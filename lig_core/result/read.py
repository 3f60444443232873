"""A JSON document, or what `explain` returned, back into arrays: the inverse of `render`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lig_core.errors import InvalidRequest
from lig_core.result.arrays import CERTIFICATE, DIAGNOSTIC, IN_FLOAT64, STATUSES, Array, LayerArrays
from lig_core.result.plain.later import held
from lig_core.result.render import LaterLayer
from lig_core.result.verdict import KEYS

_TYPES = {"nodes": np.int64, "converged": np.bool_, IN_FLOAT64: np.bool_, "status": np.uint8}
"""The type of each part of a certificate that is not float64."""


def from_document(result: Mapping[str, Any]) -> tuple[dict[str, Any], Iterator[LayerArrays]]:
    """The head and the layers of a whole document. Selections of the largest have no way back: ValueError.

    Raises InvalidRequest for measured sentences.
    """
    require_maps(result)
    head = {name: value for name, value in result.items() if name not in ("layers", *KEYS)}
    dtype = np.dtype(head.get("config", {}).get("dtype", "float32"))
    layers = result["layers"]
    return head, (_arrays(held(layers, name), dtype) for name in layers)


def _arrays(layer: LaterLayer | Mapping[str, Any], dtype: np.dtype[Any]) -> LayerArrays:
    """A layer; of one that nobody has read, the arrays themselves."""
    return layer.layer if isinstance(layer, LaterLayer) else _layer(layer, dtype)


def require_maps(head: Mapping[str, Any]) -> None:
    """Refuse the result of an experiment, which holds what was measured of sentences; raises InvalidRequest."""
    if "sentences" in head:
        raise InvalidRequest(
            "these are sentences that an experiment measured, without maps; take what explained a text"
        )


def _layer(layer: Mapping[str, Any], dtype: np.dtype[Any]) -> LayerArrays:
    parts = list((layer.get("targets") or {}).values())
    z2z, composed = layer.get("z2z"), layer.get("composed")
    arrays: dict[str, Array] = {"targets": np.array(_targets(layer), np.int64)}
    targets = arrays["targets"].tolist()
    if layer.get("visible") is not None:
        arrays["visible"] = np.array([layer["visible"][token] for token in targets], np.int64).T.reshape(2, -1)
    engines = {}
    if z2z is not None:
        arrays["z2z"] = _matrix(z2z, targets, dtype)
        certificate = {"entry_error": [None] * len(z2z["certificate"]["total"])} | z2z["certificate"]
        columns = {part: [certificate[part][token] for token in targets] for part in _parts([certificate])}
        arrays |= _certificate("z2z", columns)
        engines["z2z"] = z2z["certificate"]["engine"]
    heads = [part["z2u"] for part in parts if "z2u" in part]
    if heads:
        names = list(heads[0]["heads"])
        by_head = [[one["heads"][name] for one in heads] for name in names]
        arrays["att.heads"] = np.array([int(name) for name in names], np.int64)
        arrays["att"] = np.stack([_contributions(row, dtype) for row in by_head])
        parts_of = _parts(one for row in by_head for one in row)
        arrays |= _certificate("att", {part: [[one.get(part) for one in row] for row in by_head] for part in parts_of})
        engines["att"] = heads[0]["engine"]
    mlp = [part["u2z"] for part in parts if "u2z" in part]
    if mlp:
        arrays["mlp"] = _contributions(mlp, dtype)
        arrays |= _certificate("mlp", {part: [one.get(part) for one in mlp] for part in _parts(mlp)})
        arrays["mlp.difference"] = np.array([one["completeness"]["error"] for one in mlp], np.float64)
        if "head_contributions" in mlp[0]:
            arrays["mlp.per_head"] = np.array([one["head_contributions"] for one in mlp], np.float64).T
    if composed is not None:
        arrays |= _composed(composed, targets, dtype)
    quadrature = z2z["certificate"]["quadrature"] if z2z else heads[0]["quadrature"] if heads else ""
    labels = any("token_to_token" in matrix for matrix in _matrices(layer))
    return LayerArrays(layer["layer_idx"], arrays, quadrature, engines, labels, layer.get("replay_error"))


def _targets(layer: Mapping[str, Any]) -> list[int]:
    """The tokens that are targets, from whichever map says so."""
    if layer.get("targets") is not None:
        return [int(token) for token in layer["targets"]]
    columns = layer["z2z"]["certificate"] if layer.get("z2z") else layer["composed"]
    return [token for token, converged in enumerate(columns["converged"]) if converged is not None]


def _matrices(layer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if layer.get("z2z"):
        yield layer["z2z"]
    if layer.get("composed"):
        yield layer["composed"]["product"]


def _composed(composed: Mapping[str, Any], targets: Sequence[int], dtype: np.dtype[Any]) -> dict[str, Array]:
    arrays = {"composed.converged": np.array([composed["converged"][token] for token in targets], np.bool_)}
    for kind in ("product", "conserving"):
        name = f"composed.{kind}"
        arrays[name] = _matrix(composed[kind], targets, dtype)
        for part in DIAGNOSTIC if "l2_diagnostic" in composed[kind] else ():
            column = composed[kind]["l2_diagnostic"][part]
            arrays[f"{name}.{part}"] = np.array([column[token] for token in targets], np.float64)
    return arrays


def _matrix(document: Mapping[str, Any], targets: Sequence[int], dtype: np.dtype[Any]) -> Array:
    _require(document, "matrix")
    return np.ascontiguousarray(np.asarray(held(document, "matrix"), dtype)[:, targets])


def _contributions(parts: Iterable[Mapping[str, Any]], dtype: np.dtype[Any]) -> Array:
    """[source or dimension, target]."""
    columns = []
    for part in parts:
        _require(part, "contributions")
        columns.append(np.asarray(held(part, "contributions"), dtype))
    return np.stack(columns, -1)


def _certificate(name: str, columns: Mapping[str, Any]) -> dict[str, Array]:
    codes = {status: code for code, status in enumerate(STATUSES)}

    def coded(values: Any) -> Any:
        return codes[values] if isinstance(values, str) else [coded(value) for value in values]

    return {
        f"{name}.{part}": np.array(coded(values) if part == "status" else values, _TYPES.get(part, np.float64))
        for part, values in columns.items()
    }


def _parts(columns: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The parts of a map's certificate, which its columns have one by one or itself."""
    return (*CERTIFICATE, IN_FLOAT64) if any(IN_FLOAT64 in one for one in columns) else CERTIFICATE


def _require(document: Mapping[str, Any], name: str) -> None:
    if name not in document:
        raise ValueError(f"the document has no '{name}', only the largest contributions: ask for it without top_k")
