"""A result by words instead of tokens: contributions of a word's tokens are summed, and so are its targets.

    W[v, w] = Σ_{i ∈ v} Σ_{j ∈ w} M[i, j]          total_w = Σ_{j ∈ w} total_j

so the columns still sum to their totals. A word is a target when all its tokens were. Nodes are summed too, a word
converged when all its tokens did, was integrated in float64 where one of them was, and its completeness error is that
of the summed column. Comparisons of single tokens' columns (the L2 diagnostic) have no counterpart and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from lig_core.result.arrays import COMPOSITIONS, IN_FLOAT64, MAPS, STATUSES, Array, Head, LayerArrays

Groups = Sequence[Sequence[int]]
_FINE = STATUSES.index("zero_path")
"""Statuses up to this one say that a column is as it should be."""


@dataclass(frozen=True)
class Words:
    """The words of a text: the token indices of each. Merges a head, and each layer on its own."""

    groups: Groups

    @classmethod
    def of(cls, head: Head) -> Self | None:
        """The words of a result by tokens; None where every word is one token, and nothing is to be merged."""
        groups: list[list[int]] = []
        for token, word in enumerate(head["words"]):
            if word == len(groups):
                groups.append([])
            groups[word].append(token)
        return None if len(groups) == len(head["tokens"]) else cls(groups)

    def head(self, head: Head) -> dict[str, Any]:
        """The head by words: `word_tokens` lists each word's token indices, `config` stays as it was asked."""
        spans = None if head["offsets"] is None else [_span(head, group) for group in self.groups]
        labels = [_label(head, group, spans[k] if spans else None) for k, group in enumerate(self.groups)]
        return {
            **head,
            "tokens": labels,
            "token_labels": labels,
            "offsets": spans,
            "words": list(range(len(self.groups))),
            "word_tokens": [list(group) for group in self.groups],
        }

    def layer(self, layer: LayerArrays) -> LayerArrays:
        """One layer by words, in the precision that it has."""
        column = {token: k for k, token in enumerate(layer.targets)}
        whole = [w for w, group in enumerate(self.groups) if all(token in column for token in group)]
        columns = [[column[token] for token in self.groups[w]] for w in whole]
        merged: dict[str, Array] = {"targets": np.array(whole, np.int64)}
        if "att.heads" in layer:
            merged["att.heads"] = layer["att.heads"]
        if "visible" in layer:
            merged["visible"] = self._visible(layer["visible"], columns)
        for name in ("z2z", "att", "mlp"):
            if name in layer:
                merged |= self._map(layer, name, columns)
        if "mlp.per_head" in layer:
            merged["mlp.per_head"] = _sums(layer["mlp.per_head"], columns)
        if "composed.converged" in layer:
            merged["composed.converged"] = _join(layer["composed.converged"], columns, _all)
            merged |= {name: self._values(layer, name, columns).astype(layer[name].dtype) for name in COMPOSITIONS}
        return replace(layer, arrays=merged)

    def _visible(self, visible: Array, columns: Groups) -> Array:
        """A word is seen where one of its tokens is."""
        word = np.array([w for w, group in enumerate(self.groups) for _ in group], np.int64)
        ends = [[word[visible[0, group].min()], word[visible[1, group].max()]] for group in columns]
        return np.array(ends, np.int64).T.reshape(2, -1)

    def _map(self, layer: LayerArrays, name: str, columns: Groups) -> dict[str, Array]:
        """A map with its certificate."""
        values = self._values(layer, name, columns)
        total = _sums(layer[f"{name}.total"], columns)
        difference = values.sum(-2) - total
        merged = {
            name: values.astype(layer[name].dtype),
            f"{name}.total": total,
            f"{name}.completeness_error": np.abs(difference) / np.where(total == 0, 1, total),
            f"{name}.entry_error": self._entry_error(layer, name, columns, values, total),
            f"{name}.nodes": _sums(layer[f"{name}.nodes"], columns),
            f"{name}.converged": _join(layer[f"{name}.converged"], columns, _all),
            f"{name}.status": _join(layer[f"{name}.status"], columns, _worst),
        }
        if f"{name}.{IN_FLOAT64}" in layer:
            merged[f"{name}.{IN_FLOAT64}"] = _join(layer[f"{name}.{IN_FLOAT64}"], columns, _any)
        return merged | ({"mlp.difference": difference} if name == "mlp" else {})

    def _entry_error(self, layer: LayerArrays, name: str, columns: Groups, values: Array, total: Array) -> Array:
        """Errors of tokens' entries add up at most; each is relative to the larger of total and absolute sum."""
        sizes = np.maximum(np.abs(layer[name]).sum(-2, dtype=np.float64), layer[f"{name}.total"])
        size = np.maximum(np.abs(values).sum(-2), total)
        return _sums(layer[f"{name}.entry_error"] * sizes, columns) / np.where(size == 0, 1, size)

    def _values(self, layer: LayerArrays, name: str, columns: Groups) -> Array:
        """The contributions to the words, and of the words where those are tokens', in float64."""
        values = _sums(layer[name].astype(np.float64), columns)
        if "source" in MAPS[name]:
            values = np.ascontiguousarray(_sums(values.swapaxes(-1, -2), self.groups).swapaxes(-1, -2))
        return values


def _span(head: Head, group: Sequence[int]) -> tuple[int, int]:
    """The characters of a word, without white space around it where there is more to it."""
    offsets = [head["offsets"][token] for token in group]
    start, end = min(offset[0] for offset in offsets), max(offset[1] for offset in offsets)
    text: str = head["text"][start:end]
    if text.strip():
        start, end = start + len(text) - len(text.lstrip()), end - len(text) + len(text.rstrip())
    return start, end


def _label(head: Head, group: Sequence[int], span: tuple[int, int] | None) -> str:
    """The word as it stands in the text, where that is known: single bytes have no readable labels to join."""
    text: str = "" if span is None else head["text"][slice(*span)]
    return text if text.strip() else "".join(head["token_labels"][k] for k in group)


def _join(values: Array, groups: Groups, join: Callable[[Array], Array]) -> Array:
    """The last axis by groups."""
    joined = np.empty((*values.shape[:-1], len(groups)), values.dtype)
    for k, group in enumerate(groups):
        joined[..., k] = join(values[..., group])
    return joined


def _sums(values: Array, groups: Groups) -> Array:
    return _join(values, groups, lambda parts: parts.sum(-1))


def _all(parts: Array) -> Array:
    return np.asarray(parts.all(-1))


def _any(parts: Array) -> Array:
    return np.asarray(parts.any(-1))


def _worst(parts: Array) -> Array:
    """The status that matters: the first that is neither ok nor a path on which nothing moves."""
    wrong = parts > _FINE
    first = np.take_along_axis(parts, wrong.argmax(-1)[..., None], -1)[..., 0]
    return np.where(wrong.any(-1), first, parts.min(-1))
