"""The JSON document of a result: the authors' library's keys, with a certificate beside every map.

Matrices are NumPy arrays of the result's own precision, NaN in columns that the result does not hold, and labels are
made later. A whole document holds its layers as arrays, and makes of them what is read.

Where only the largest contributions were selected, `top` stands in place of each `matrix` and of each
`contributions`: a list of {target, source, value} ({target, dimension, value} for u→z'), by target, largest first.
`shape`, `token_to_token` and `token_l2_norm`, which are about all contributions, are left out then.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lig_core.result.arrays import CERTIFICATE, DIAGNOSTIC, IN_FLOAT64, STATUSES, Array, Head, LayerArrays
from lig_core.result.plain.later import Later
from lig_core.result.plain.lazy import LazyDict
from lig_core.result.plain.text import plain
from lig_core.result.verdict import Verdict

Document = dict[str, Any]

ITB = "self_input_token"
"""The baseline under which a token's contribution to itself is 0 by definition: on its path it does not move."""
LAYER_DESCRIPTION = "Integrated Gradients from the block input to the block output, matrix[source][target]"
ATT_DESCRIPTION = "Integrated Gradients from the block input to each head's output, per source token"
MLP_DESCRIPTIONS = {
    "residual": "Integrated Gradients from the stream after attention to the block output, per dimension of u",
    "heads": "Integrated Gradients from the concatenated head outputs to the block output, per dimension of u",
}


def document(head: Head, layers: Iterable[LayerArrays]) -> Document:
    """The whole result as plain data, but for `layers`: a LazyDict, of which each is arrays until it is read."""
    documents, verdict = {}, Verdict()
    for layer in layers:
        documents[str(layer.index)] = LaterLayer(head, layer)
        verdict.add(layer)
    return {**plain(dict(head)), "layers": LazyDict.of(documents), **verdict.document()}


class LaterLayer(Later):
    """The document of a layer, made when it is asked for."""

    __slots__ = ("layer",)

    def __init__(self, head: Head, layer: LayerArrays) -> None:
        super().__init__(partial(layer_document, head, layer))
        self.layer = layer


def layer_document(head: Head, layer: LayerArrays) -> Document:
    """One layer of the result."""
    if layer.pairs:
        return {"quadrature": layer.quadrature, **layer.pairs}
    return _Layer(head, layer).document()


def spread(columns: Array, targets: Sequence[int], count: int) -> Array:
    """[.., target] as [.., token]: NaN for tokens that are no targets."""
    if len(targets) == count:
        return np.ascontiguousarray(columns)
    spread = np.full((*columns.shape[:-1], count), np.nan, columns.dtype)
    spread[..., targets] = columns
    return spread


@dataclass(frozen=True)
class _Layer:
    head: Head
    layer: LayerArrays

    def document(self) -> Document:
        maps = self.layer.maps
        document: Document = {"layer_idx": self.layer.index, "replay_error": self.layer.replay_error}
        if "visible" in self.layer:
            document["visible"] = self._column(self.layer["visible"].T.tolist())
        if "layer" in maps:
            document["z2z"] = self._layer_map()
        if "composed" in maps:
            document["composed"] = self._composed()
        if "att" in maps or "mlp" in maps:
            targets = self.layer.targets
            parts = {token: {"target_token_idx": token, "target_token": self._tokens[token]} for token in targets}
            if "att" in maps:
                for token, heads in zip(targets, self._heads(), strict=True):
                    parts[token]["z2u"] = heads
            if "mlp" in maps:
                for token, mlp in zip(targets, self._mlp(), strict=True):
                    parts[token]["u2z"] = mlp
            document["targets"] = {str(token): part for token, part in parts.items()}
        return document

    @property
    def _tokens(self) -> list[str]:
        tokens: list[str] = self.head["tokens"]
        return tokens

    @property
    def _config(self) -> Document:
        config: Document = self.head["config"]
        return config

    def _layer_map(self) -> Document:
        matrix = self._matrix("z2z")
        labelled = {"token_to_token": matrix.pop("token_to_token")} if "token_to_token" in matrix else {}
        columns = self._certificates("z2z")
        return {
            "baseline": self._config["baseline_layer"],
            "description": LAYER_DESCRIPTION,
            "zero_self": self._config["baseline_layer"] == ITB,
            **matrix,
            "certificate": {
                **{name: self._column(values) for name, values in columns.items()},
                "all_converged": all(columns["converged"]),
                "rtol": self._config["rtol"],
                "quadrature": self.layer.quadrature,
                "engine": self.layer.engines["z2z"],
            },
            **labelled,
        }

    def _composed(self) -> Document:
        baselines = {name: self._config[f"baseline_{name}"] for name in ("att", "mlp", "layer")}
        return {
            "baseline_pair": baselines,
            "zero_self": baselines["att"] == ITB,
            "converged": self._column(self.layer["composed.converged"].tolist()),
            "product": self._composition("composed.product"),
            "conserving": self._composition("composed.conserving"),
        }

    def _composition(self, name: str) -> Document:
        document = self._matrix(name)
        if f"{name}.distance" in self.layer:
            columns = {part: self.layer[f"{name}.{part}"] for part in DIAGNOSTIC}
            document["l2_diagnostic"] = {
                **{part: self._column(_numbers(values)) for part, values in columns.items()},
                **{f"mean_{part}": _mean(values) for part, values in columns.items()},
            }
        return document

    def _matrix(self, name: str) -> Document:
        """A map from tokens to tokens: all of it, or its largest entries."""
        if name not in self.layer:
            top = zip(self.layer.targets, *self._top(name), strict=True)
            return {"top": [entry for target, *ranked in top for entry in _entries(target, "source", *ranked)]}
        matrix = spread(self.layer[name], self.layer.targets, len(self._tokens))
        document: Document = {"shape": list(matrix.shape), "matrix": matrix}
        if self.layer.labels:
            document["token_to_token"] = Later(partial(_labelled, self._tokens, self.layer.targets, self.layer[name]))
        return document

    def _heads(self) -> list[Document]:
        """z→u of each target."""
        about = {
            "baseline": self._config["baseline_att"],
            "description": ATT_DESCRIPTION,
            "zero_self": self._config["baseline_att"] == ITB,
            "engine": self.layer.engines["att"],
            "quadrature": self.layer.quadrature,
        }
        columns = self._certificates("att")  # [head][target]
        names = [str(head) for head in self.layer.heads]
        if "att" in self.layer:
            by_target = np.ascontiguousarray(self.layer["att"].transpose(2, 0, 1))
            values = [
                [{"contributions": row, "token_l2_norm": float(np.linalg.norm(row))} for row in rows]
                for rows in by_target
            ]
        else:
            values = [
                [{"top": _entries(target, "source", *ranked)} for ranked in zip(*heads, strict=True)]
                for target, *heads in zip(self.layer.targets, *self._top("att"), strict=True)
            ]
        return [
            about
            | {
                "heads": {
                    name: {**values[j][k], **{part: values[k][j] for part, values in columns.items()}}
                    for k, name in enumerate(names)
                }
            }
            for j in range(len(values))
        ]

    def _mlp(self) -> list[Document]:
        """u→z' of each target."""
        u_node = self._config["u_node"]
        about = {"baseline": self._config["baseline_mlp"], "u_node": u_node, "description": MLP_DESCRIPTIONS[u_node]}
        columns = self._certificates("mlp")
        differences = self.layer["mlp.difference"].tolist()
        values: list[Document]
        if "mlp" in self.layer:
            rows = np.ascontiguousarray(self.layer["mlp"].T)
            values = [{"input_width": rows.shape[1], "contributions": row} for row in rows]
        else:
            ranked = zip(self.layer.targets, *self._top("mlp"), strict=True)
            values = [{"top": _entries(target, "dimension", *entries)} for target, *entries in ranked]
        documents = [
            {
                **about,
                **values[j],
                "l2_total": columns["total"][j],
                "completeness": {
                    "error": difference,
                    "mean_abs_error": abs(difference),
                    "max_abs_error": abs(difference),
                },
                **{part: values[j] for part, values in columns.items()},
            }
            for j, difference in enumerate(differences)
        ]
        if "mlp.per_head" in self.layer:
            for one, sums in zip(documents, self.layer["mlp.per_head"].T.tolist(), strict=True):
                one["head_contributions"] = sums
                if "input_width" in one:
                    one["head_shape"] = [len(sums), one["input_width"] // len(sums)]
        return documents

    def _certificates(self, name: str) -> dict[str, list[Any]]:
        """The parts of a map's certificate, in lists like its arrays."""
        held = (part for part in (*CERTIFICATE, IN_FLOAT64) if f"{name}.{part}" in self.layer)
        parts = {part: self.layer[f"{name}.{part}"] for part in held}
        parts["status"] = np.array(STATUSES)[parts["status"]]
        known = ~np.isnan(parts["entry_error"])
        parts["entry_error"] = np.where(known, parts["entry_error"].astype(object), np.array(None))
        return {part: array.tolist() for part, array in parts.items()}

    def _column(self, values: Sequence[Any]) -> list[Any]:
        """One entry per token, None for tokens that are no targets."""
        column: list[Any] = [None] * len(self._tokens)
        for token, value in zip(self.layer.targets, values, strict=True):
            column[token] = value
        return column

    def _top(self, name: str) -> tuple[Array, Array]:
        """The largest values of each target, and where they sit: [target, .., rank]."""
        values, places = (self.layer[f"{name}.{part}"] for part in ("top", "top_index"))
        return np.moveaxis(values, -1, 0), np.moveaxis(places, -1, 0)


def _labelled(tokens: Sequence[str], targets: Sequence[int], columns: Array) -> list[Document]:
    """A map [source, target] entry by entry, with the tokens' names."""
    return [
        {
            "target_token_idx": target,
            "target_token": tokens[target],
            "contributions": Later(partial(_labelled_column, tokens, columns[:, place])),
        }
        for place, target in enumerate(targets)
    ]


def _labelled_column(tokens: Sequence[str], column: Array) -> list[Document]:
    return [
        {"source_token_idx": place, "source_token": token, "value": value}
        for place, (token, value) in enumerate(zip(tokens, column.tolist(), strict=True))
    ]


def _entries(target: int, axis: str, values: Array, places: Array) -> list[Document]:
    return [
        {"target": target, axis: place, "value": value} for value, place in zip(values, places.tolist(), strict=True)
    ]


def _numbers(values: Array) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _mean(values: Array) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None
