"""A result by words instead of tokens: contributions of a word's tokens are summed, and so are its targets.

    W[v, w] = Σ_{i ∈ v} Σ_{j ∈ w} M[i, j]          total_w = Σ_{j ∈ w} total_j

so the columns still sum to their totals. A word is a target when all its tokens were; the others are NaN. Nodes are
summed too, a word converged when all its tokens did, and its completeness error is that of the summed column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Document = dict[str, Any]
Array = np.ndarray[Any, Any]


def merge_words(document: Mapping[str, Any]) -> Document:
    """The result by words; the document itself is left as it is. Idempotent.

    `tokens`, `token_labels` and `offsets` are the words', `words` lists each word's token indices. Comparisons of
    single tokens' columns (`l2_diagnostic`) are left out.
    """
    groups = [[k for k, word in enumerate(document["words"]) if word == w] for w in range(max(document["words"]) + 1)]
    if len(groups) == len(document["tokens"]):
        return dict(document)
    offsets = document["offsets"]
    labels = [_label(document, group) for group in groups]
    merged = _Merger(groups, labels)
    return {
        **document,
        "tokens": labels,
        "token_labels": labels,
        "offsets": None if offsets is None else [[offsets[g[0]][0], offsets[g[-1]][1]] for g in groups],
        "words": list(range(len(groups))),
        "word_tokens": groups,
        "layers": {index: merged.layer(layer) for index, layer in document["layers"].items()},
    }


def _label(document: Mapping[str, Any], group: Sequence[int]) -> str:
    """The word as it stands in the text, where that is known: single bytes have no readable labels to join."""
    if len(group) > 1 and document["offsets"] is not None:
        offsets = document["offsets"]
        text: str = document["text"][offsets[group[0]][0] : offsets[group[-1]][1]]
        return text.strip()
    return "".join(document["token_labels"][k] for k in group)


class _Merger:
    def __init__(self, groups: Sequence[Sequence[int]], labels: Sequence[str]) -> None:
        self._groups, self._labels = groups, labels

    def layer(self, layer: Mapping[str, Any]) -> Document:
        document = dict(layer)
        if layer.get("z2z") is not None:
            document["z2z"] = self._layer_map(layer["z2z"])
        if layer.get("composed") is not None:
            document["composed"] = self._composed(layer["composed"])
        if layer.get("targets") is not None:
            document["targets"] = self._targets(layer["targets"])
        return document

    def _layer_map(self, found: Mapping[str, Any]) -> Document:
        document = self._matrix_map(found)
        old = found["certificate"]
        total = self._columns(old["total"], sum)
        sums = document["matrix"].sum(0, dtype=np.float64)
        error = [
            None if t is None else abs(float(s) - t) / t if t else abs(float(s))
            for s, t in zip(sums, total, strict=True)
        ]
        return document | {
            "certificate": {
                **old,
                "total": total,
                "completeness_error": error,
                "nodes": self._columns(old["nodes"], sum),
                "converged": self._columns(old["converged"], all),
                "status": self._columns(old["status"], _worst),
            }
        }

    def _composed(self, found: Mapping[str, Any]) -> Document:
        document = dict(found)
        document["converged"] = self._columns(found["converged"], all)
        for kind in ("product", "conserving"):
            plain = {name: value for name, value in found[kind].items() if name != "l2_diagnostic"}
            document[kind] = self._matrix_map(plain)
        return document

    def _matrix_map(self, found: Mapping[str, Any]) -> Document:
        by_token = np.asarray(found["matrix"], dtype=getattr(found["matrix"], "dtype", np.float64))
        matrix = self._sources(by_token.astype(np.float64))
        matrix = np.stack([matrix[:, list(group)].sum(1) for group in self._groups], 1).astype(by_token.dtype)
        document = {**found, "shape": list(matrix.shape), "matrix": matrix}
        if found.get("token_to_token") is not None:
            asked = [w for w in range(len(self._groups)) if not np.isnan(matrix[:, w]).any()]
            document["token_to_token"] = [
                {
                    "target_token_idx": w,
                    "target_token": self._labels[w],
                    "contributions": [
                        {"source_token_idx": v, "source_token": self._labels[v], "value": float(matrix[v, w])}
                        for v in asked
                    ],
                }
                for w in asked
            ]
        return document

    def _sources(self, values: Array) -> Array:
        """Contributions of tokens [tokens, ...], or [tokens], as contributions of words."""
        return np.stack([values[list(group)].sum(0) for group in self._groups])

    def _columns(self, values: Sequence[Any], join: Callable[[list[Any]], Any]) -> list[Any]:
        parts = [[values[k] for k in group] for group in self._groups]
        return [None if any(value is None for value in part) else join(part) for part in parts]

    def _targets(self, targets: Mapping[str, Any]) -> Document:
        """z→u and u→z' of a word: those of its tokens, summed head by head and dimension by dimension."""
        document: Document = {}
        for w, group in enumerate(self._groups):
            parts = [targets[str(k)] for k in group if str(k) in targets]
            if len(parts) < len(group):
                continue
            document[str(w)] = {"target_token_idx": w, "target_token": self._labels[w]}
            if "z2u" in parts[0]:
                document[str(w)]["z2u"] = self._heads([part["z2u"] for part in parts])
            if "u2z" in parts[0]:
                document[str(w)]["u2z"] = _mlp([part["u2z"] for part in parts])
        return document

    def _heads(self, parts: Sequence[Mapping[str, Any]]) -> Document:
        heads: Document = {}
        for head in parts[0]["heads"]:
            found = [part["heads"][head] for part in parts]
            values = self._sources(_sum(found, "contributions"))
            heads[head] = {"contributions": values, "token_l2_norm": float(np.linalg.norm(values))}
            heads[head] |= _certificate(found, float(values.sum()))
        return {**parts[0], "heads": heads}


def _mlp(parts: Sequence[Mapping[str, Any]]) -> Document:
    values = _sum(parts, "contributions")
    certificate = _certificate(parts, float(values.sum()))
    difference = float(values.sum()) - certificate["total"]
    size = abs(difference)
    document = {**parts[0], "contributions": values, "l2_total": certificate["total"], **certificate}
    document["completeness"] = {"error": difference, "mean_abs_error": size, "max_abs_error": size}
    if "head_contributions" in parts[0]:
        document["head_contributions"] = _sum(parts, "head_contributions").tolist()
    return document


def _certificate(parts: Sequence[Mapping[str, Any]], found: float) -> Document:
    total = float(sum(part["total"] for part in parts))
    return {
        "total": total,
        "completeness_error": abs(found - total) / total if total else abs(found),
        "nodes": sum(part["nodes"] for part in parts),
        "converged": all(part["converged"] for part in parts),
        "status": _worst([part["status"] for part in parts]),
    }


def _sum(parts: Sequence[Mapping[str, Any]], name: str) -> Array:
    total: Array = np.sum([np.asarray(part[name], dtype=np.float64) for part in parts], axis=0)
    return total


def _worst(statuses: list[str]) -> str:
    """The status that matters: the first that is neither ok nor a path on which nothing moves."""
    order = [status for status in statuses if status not in ("ok", "zero_path")]
    return order[0] if order else "ok" if "ok" in statuses else statuses[0]
