"""From maps to the result document: the authors' library's keys, with a certificate beside every map."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import orjson
import torch
import transformers
from torch import Tensor

from lig_core.compose import Comparison, Composition
from lig_core.contract import ExplainRequest
from lig_core.maps import HeadMap, LayerMap, MlpMap
from lig_core.models import LoadedModel, TextTokens
from lig_core.quadrature import Attribution, Quadrature
from lig_core.words import merge_words

Document = dict[str, Any]
Array = np.ndarray[Any, Any]

MLP_DESCRIPTIONS = {
    "residual": "Integrated Gradients from the stream after attention to the block output, per dimension of u",
    "heads": "Integrated Gradients from the concatenated head outputs to the block output, per dimension of u",
}


@dataclass(frozen=True)
class LayerMaps:
    """What was asked for of one layer; what was not is None."""

    quadrature: Quadrature
    layer: LayerMap | None = None
    att: HeadMap | None = None
    mlp: MlpMap | None = None
    composed: Composition | None = None

    @property
    def converged(self) -> bool:
        """Whether every column of every map met its tolerance."""
        attributions = [m.attribution.converged for m in (self.layer, self.att, self.mlp) if m is not None]
        if self.composed is not None:
            attributions.append(self.composed.converged)
        return all(bool(converged.all()) for converged in attributions)


def render(
    request: ExplainRequest,
    model: LoadedModel,
    text: TextTokens,
    targets: Sequence[int],
    layers: Mapping[int, LayerMaps],
) -> Document:
    """The result document. Matrices are NumPy arrays in the model's dtype; NaN marks columns not asked for."""
    tokens = text.tokens
    writer = _Writer(request, tokens, targets, np.dtype(str(model.dtype).removeprefix("torch.")))
    document = {
        "text": request.text,
        "tokens": list(tokens),
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
        "layers": {str(layer): writer.layer(layer, maps) for layer, maps in layers.items()},
        "converged": all(maps.converged for maps in layers.values()),
        "receipt": _receipt(request, model),
    }
    return merge_words(document) if request.merge_subwords else document


@dataclass(frozen=True)
class _Writer:
    request: ExplainRequest
    tokens: Sequence[str]
    targets: Sequence[int]
    dtype: np.dtype[Any]

    def layer(self, index: int, maps: LayerMaps) -> Document:
        document: Document = {"layer_idx": index}
        if maps.layer is not None:
            document["z2z"] = self._layer_map(maps.layer, maps.quadrature)
        if maps.composed is not None:
            document["composed"] = self._composed(maps.composed)
        if maps.att is not None or maps.mlp is not None:
            document["targets"] = {
                str(token): self._target(position, token, maps) for position, token in enumerate(self.targets)
            }
        return document

    def _layer_map(self, found: LayerMap, quadrature: Quadrature) -> Document:
        matrix = self._matrix(found.attribution.values)
        document: Document = {
            "baseline": self.request.baseline_layer,
            "description": "Integrated Gradients from the block input to the block output, matrix[source][target]",
            "shape": list(matrix.shape),
            "matrix": matrix,
            "certificate": self._certificate(found.attribution, quadrature, found.engine),
        }
        if self.request.labels:
            document["token_to_token"] = self._labelled(matrix)
        return document

    def _matrix(self, values: Tensor) -> Array:
        """[targets, sources] as [source][target], NaN in columns that were not asked for."""
        count = len(self.tokens)
        matrix = np.full((count, count), np.nan, self.dtype)
        matrix[:, list(self.targets)] = values[:, :count].numpy().T
        return matrix

    def _column(self, values: Sequence[Any]) -> list[Any]:
        """One entry per token, None for tokens that were not asked for."""
        by_token = dict(zip(self.targets, values, strict=True))
        return [by_token.get(token) for token in range(len(self.tokens))]

    def _certificate(self, found: Attribution, quadrature: Quadrature, engine: str) -> Document:
        return {
            "total": self._column(found.total.tolist()),
            "completeness_error": self._column(found.completeness_error.tolist()),
            "nodes": self._column(found.nodes.tolist()),
            "converged": self._column(found.converged.tolist()),
            "status": self._column(found.status),
            "all_converged": bool(found.converged.all()),
            "rtol": quadrature.rtol,
            "quadrature": quadrature.name,
            "engine": engine,
        }

    def _labelled(self, matrix: Array) -> list[Document]:
        return [
            {
                "target_token_idx": j,
                "target_token": self.tokens[j],
                "contributions": [
                    {"source_token_idx": i, "source_token": self.tokens[i], "value": float(matrix[i, j])}
                    for i in range(len(self.tokens))
                ],
            }
            for j in self.targets
        ]

    def _target(self, position: int, token: int, maps: LayerMaps) -> Document:
        document: Document = {"target_token_idx": token, "target_token": self.tokens[token]}
        if maps.att is not None:
            document["z2u"] = self._heads(maps.att, position, maps.quadrature)
        if maps.mlp is not None:
            document["u2z"] = self._mlp(maps.mlp, position)
        return document

    def _heads(self, found: HeadMap, position: int, quadrature: Quadrature) -> Document:
        values = found.values[position, :, : len(self.tokens)].numpy().astype(self.dtype)
        first = position * len(found.heads)
        return {
            "baseline": self.request.baseline_att,
            "description": "Integrated Gradients from the block input to each head's output, per source token",
            "engine": found.engine,
            "quadrature": quadrature.name,
            "heads": {
                str(head): {
                    "contributions": values[k],
                    "token_l2_norm": float(np.linalg.norm(values[k])),
                    **_column_certificate(found.attribution, first + k),
                }
                for k, head in enumerate(found.heads)
            },
        }

    def _mlp(self, found: MlpMap, position: int) -> Document:
        values = found.attribution.values[position]
        difference = float(values.sum() - found.attribution.total[position])
        document: Document = {
            "baseline": self.request.baseline_mlp,
            "u_node": self.request.u_node,
            "description": MLP_DESCRIPTIONS[self.request.u_node],
            "contributions": values.numpy().astype(self.dtype),
            "l2_total": float(found.attribution.total[position]),
            "completeness": {
                "error": difference,
                "mean_abs_error": abs(difference),
                "max_abs_error": abs(difference),
            },
            **_column_certificate(found.attribution, position),
        }
        if found.per_head is not None:
            document["head_contributions"] = found.per_head[position].tolist()
        return document

    def _composed(self, found: Composition) -> Document:
        return {
            "baseline_pair": {
                "att": self.request.baseline_att,
                "mlp": self.request.baseline_mlp,
                "layer": self.request.baseline_layer,
            },
            "converged": self._column(found.converged.tolist()),
            "product": self._composition(found.product, found.product_comparison),
            "conserving": self._composition(found.conserving, found.conserving_comparison),
        }

    def _composition(self, values: Tensor, comparison: Comparison) -> Document:
        matrix = self._matrix(values)
        document: Document = {
            "shape": list(matrix.shape),
            "matrix": matrix,
            "l2_diagnostic": {
                "distance": self._column(_numbers(comparison.distance)),
                "normalised_distance": self._column(_numbers(comparison.normalised)),
                "pearson": self._column(_numbers(comparison.pearson)),
                "mean_distance": _mean(comparison.distance),
                "mean_normalised_distance": _mean(comparison.normalised),
                "mean_pearson": _mean(comparison.pearson),
            },
        }
        if self.request.labels:
            document["token_to_token"] = self._labelled(matrix)
        return document


def _column_certificate(found: Attribution, column: int) -> Document:
    return {
        "total": float(found.total[column]),
        "completeness_error": float(found.completeness_error[column]),
        "nodes": int(found.nodes[column]),
        "converged": bool(found.converged[column]),
        "status": found.status[column],
    }


def _numbers(values: Tensor) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _mean(values: Tensor) -> float | None:
    finite = values[values.isfinite()]
    return float(finite.mean()) if len(finite) else None


def _receipt(request: ExplainRequest, model: LoadedModel) -> Document:
    return {
        "model": model.card.name,
        "revision": model.revision,
        "tokenizer": type(model.tokenizer).__name__,
        "dtype": request.dtype,
        "device": model.device.type,
        "versions": {
            "lig-service": version("lig-service"),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
    }


def to_json(document: Document) -> bytes:
    """The document as JSON: shortest float32 digits, NaN as null."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def plain(document: Document) -> Document:
    """The document in plain Python data, as a client reads it from JSON."""
    result: Document = orjson.loads(to_json(document))
    return result
