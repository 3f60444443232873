"""Two results side by side: b less a, where they hold the same maps of the same layers.

Where their tokens differ, those that an edit script keeps are compared; the others are named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, Field

from lig_core.errors import NotComparable
from lig_core.result.alignment import align
from lig_core.result.arrays import MAPS, Array, Head, LayerArrays, Result, largest_places
from lig_core.result.plain.text import to_json
from lig_core.result.render import spread
from lig_core.result.select import listed
from lig_core.result_schema import Receipt

Composed = Literal["product", "conserving"]
TOP = 10
"""The number of a map's largest changes that are listed."""


class Change(BaseModel):
    """One entry that changed. `head` is set in att; `dimension` stands in place of the source in mlp."""

    target: int
    target_token: str
    source: int | None = None
    source_token: str | None = None
    dimension: int | None = None
    head: int | None = None
    a: float | None
    b: float | None
    difference: float | None = Field(description="b less a.")


class MapDiff(BaseModel):
    """The change of one map of one layer, over the targets (and heads) that both results hold."""

    l2: float | None = Field(description="‖b − a‖₂ over all entries that are known in both.")
    relative_l2: float | None = Field(description="The same over ‖a‖₂ of these entries; null where it is 0.")
    pearson: float | None = Field(description="Correlation of these entries; null where a or b is constant.")
    top: list[Change] = Field(description="The entries that changed most, largest first.")
    heads: list[int] | None = Field(None, description="In att: the head of each of `difference`'s parts.")
    difference: list[Any] | None = Field(
        None,
        description="b − a: `[source][target]`, in att `[head][source][target]`, in mlp `[dimension][target]`; "
        "null in columns of targets and rows of sources that are not in both. Not there with `difference=false`.",
    )


class Side(BaseModel):
    """One of the results."""

    text: str
    model: str
    config: dict[str, Any]
    receipt: Receipt


class Alone(BaseModel):
    """The tokens that one of the results has alone."""

    a: list[int]
    b: list[int]


class DiffResult(BaseModel):
    """Two results aligned by layer, map and token. Indices of tokens are a's."""

    tokens: list[str] = Field(description="a's.")
    token_labels: list[str]
    alignment: list[tuple[int, int]] | None = Field(
        None,
        description="Where the tokens differ: pairs of a's and b's indices of those that are the same, as an edit "
        "script keeps them (a longest common subsequence). null: all are the same, one by one.",
    )
    unaligned: Alone = Field(description="The indices of tokens that are in one of the two alone.")
    a: Side
    b: Side
    settings: dict[str, tuple[Any, Any]] = Field(
        description="What differs in how they were made: [a's, b's] by name, of `config` and of the model."
    )
    layers: dict[str, dict[str, MapDiff]] = Field(
        description="By layer, then by map: z2z, att, mlp, composed.product, composed.conserving."
    )


def diff(
    a: Result, b: Result, *, top: int = TOP, composed: Composed | None = None, difference: bool = True
) -> tuple[dict[str, Any], Iterator[tuple[int, dict[str, Any]]]]:
    """A DiffResult without `layers`, and its layers one after the other, computed as they are asked for.

    Matrices in it are NumPy arrays, left out without `difference`. With `composed`, b's composition of this kind is
    set beside a's layer map. Raises NotComparable at once when no token or no map is shared. A map is shared where
    both hold it for some target in common, and with as many dimensions.
    """
    alignment = _alignment(a.head, b.head)
    if composed is not None:
        b = _changed(b, lambda layer: _as_layer_map(layer, composed))
    if alignment is not None:
        a = _changed(a, lambda layer: _kept(layer, {i: i for i, _ in alignment}))
        b = _changed(b, lambda layer: _kept(layer, {j: i for i, j in alignment}))
    sources = range(len(a.head["tokens"])) if alignment is None else [i for i, _ in alignment]
    indices = [index for index in a.indices if index in set(b.indices)]
    if not indices:
        raise NotComparable(
            f"no layer is in both results: a holds {listed(a.indices)}, b holds {listed(b.indices)}; "
            "explain the same layers in both"
        )
    first = [result.load(indices[0]) for result in (a, b)]
    if not _shared(*first):
        held = [f"{' and '.join(layer.maps) or 'nothing'} of targets {listed(layer.targets)}" for layer in first]
        raise NotComparable(
            f"no map is in both results: a holds {held[0]}, b holds {held[1]}; "
            "explain the same granularity, u_node and target_tokens in both, and compare without top_k"
        )
    head = {
        "tokens": a.head["tokens"],
        "token_labels": a.head["token_labels"],
        "alignment": alignment,
        "unaligned": _unaligned(a.head, b.head, alignment),
        "a": _side(a.head),
        "b": _side(b.head),
        "settings": _settings(a.head, b.head) | ({"map": ("layer", f"composed.{composed}")} if composed else {}),
    }

    def compared(index: int) -> dict[str, Any]:
        return {
            name: _Pair(name, a.head["tokens"], sources, one.targets, one.heads, one[name], two[name]).document(
                top, difference
            )
            for name, (one, two) in _shared(a.load(index), b.load(index)).items()
        }

    return head, ((index, compared(index)) for index in indices)


def write_diff(
    a: Result, b: Result, *, top: int = TOP, composed: Composed | None = None, difference: bool = True
) -> Iterator[bytes]:
    """A DiffResult as JSON, one layer in memory at a time; raises as `diff` does, before anything is written."""
    head, layers = diff(a, b, top=top, composed=composed, difference=difference)

    def written() -> Iterator[bytes]:
        between = b""
        yield orjson.dumps(head)[:-1] + b',"layers":{'
        for index, maps in layers:
            yield between + b'"%d":' % index + to_json(maps)
            between = b","
        yield b"}}"

    return written()


def _alignment(a: Head, b: Head) -> list[tuple[int, int]] | None:
    if a["tokens"] == b["tokens"]:
        return None
    alignment = align(a["tokens"], b["tokens"])
    if not alignment:
        raise NotComparable(
            f"the two have no token in common (a has {len(a['tokens'])}, b has {len(b['tokens'])}); compare results by "
            "models of one tokenizer, both by tokens or both by words"
        )
    return alignment


def _unaligned(a: Head, b: Head, alignment: Sequence[tuple[int, int]] | None) -> dict[str, list[int]]:
    if alignment is None:
        return {"a": [], "b": []}
    kept = [{pair[side] for pair in alignment} for side in (0, 1)]
    counts = len(a["tokens"]), len(b["tokens"])
    return {name: [k for k in range(counts[side]) if k not in kept[side]] for side, name in enumerate("ab")}


def _changed(result: Result, change: Callable[[LayerArrays], LayerArrays]) -> Result:
    """A result whose layers are changed as they are loaded."""
    return replace(result, load=lambda index: change(result.load(index)))


def _kept(layer: LayerArrays, to: Mapping[int, int]) -> LayerArrays:
    """A layer's tokens that are keys of `to`, called as it says."""
    layer = layer.take("target", [k for k, token in enumerate(layer.targets) if token in to])
    layer = layer.take("source", sorted(to))
    return replace(layer, arrays={**layer.arrays, "targets": np.array([to[t] for t in layer.targets], np.int64)})


def _as_layer_map(layer: LayerArrays, composed: Composed) -> LayerArrays:
    name = f"composed.{composed}"
    return replace(layer, arrays={"targets": layer["targets"]} | ({"z2z": layer[name]} if name in layer else {}))


def _side(head: Head) -> dict[str, Any]:
    return {name: head[name] for name in ("text", "model", "config", "receipt")}


def _settings(a: Head, b: Head) -> dict[str, tuple[Any, Any]]:
    sides = [
        {**head["config"], "model": head["model"], **{key: head["receipt"].get(key) for key in ("revision", "files")}}
        for head in (a, b)
    ]
    names = dict.fromkeys([*sides[0], *sides[1]])
    pairs = {name: (sides[0].get(name), sides[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _shared(a: LayerArrays, b: LayerArrays) -> Mapping[str, tuple[LayerArrays, LayerArrays]]:
    """The maps in both, both cut to the targets and heads that both hold."""
    a, b = _common("target", a, b.targets), _common("target", b, a.targets)
    if not a.targets:
        return {}
    if a.heads and b.heads:
        a, b = _common("head", a, b.heads), _common("head", b, a.heads)
    both = (name for name in MAPS if name in a and name in b)
    return {name: (a, b) for name in both if a[name].shape == b[name].shape and a[name].size}


def _common(axis: str, layer: LayerArrays, other: list[int]) -> LayerArrays:
    own = layer.targets if axis == "target" else layer.heads
    return layer.take(axis, [k for k, index in enumerate(own) if index in set(other)])


@dataclass(frozen=True)
class _Pair:
    """One map of both results, over the same sources, targets and heads."""

    name: str
    tokens: list[str]
    sources: Sequence[int]
    targets: list[int]
    heads: list[int]
    a: Array
    b: Array

    def document(self, top: int, matrix: bool) -> dict[str, Any]:
        a, b = self.a.astype(np.float64), self.b.astype(np.float64)
        difference = b - a
        known = ~np.isnan(difference)  # a column of a composition may not be
        l2, size = float(np.linalg.norm(difference[known])), float(np.linalg.norm(a[known]))
        document: dict[str, Any] = {
            "l2": _number(l2) if known.any() else None,
            "relative_l2": _number(l2 / size) if size else None,
            "pearson": _pearson(a[known], b[known]),
            "top": self._changes(difference, top),
        }
        if self.name == "att":
            document["heads"] = self.heads
        if not matrix:
            return document
        rounded, count = difference.astype(np.result_type(self.a, self.b)), len(self.tokens)
        if "source" in MAPS[self.name] and len(self.sources) < count:
            rounded = spread(rounded.swapaxes(-1, -2), self.sources, count).swapaxes(-1, -2)
        return document | {"difference": spread(rounded, self.targets, count)}

    def _changes(self, difference: Array, top: int) -> list[dict[str, Any]]:
        return [self._change(place, difference) for place in largest_places(difference, top)]

    def _change(self, place: tuple[int, ...], difference: Array) -> dict[str, Any]:
        axes = dict(zip(MAPS[self.name], place, strict=True))
        target = self.targets[axes["target"]]
        where: dict[str, Any] = {"target": target, "target_token": self.tokens[target]}
        if "source" in axes:
            source = self.sources[axes["source"]]
            where |= {"source": source, "source_token": self.tokens[source]}
        if "dimension" in axes:
            where["dimension"] = axes["dimension"]
        if "head" in axes:
            where["head"] = self.heads[axes["head"]]
        return where | {"a": self.a[place], "b": self.b[place], "difference": difference[place]}


def _pearson(a: Array, b: Array) -> float | None:
    if not a.size:
        return None
    a, b = a - a.mean(), b - b.mean()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return _number(float((a * b).sum()) / norms) if norms else None


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
