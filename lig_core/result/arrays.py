"""One layer's maps as NumPy arrays: their names, their axes, their bytes.

    targets               [target]                the token that each column is about, ascending
    visible               [first or last, target] the first and the last source that the target sees; not there where
                                                  each sees all, or where it is not known
    z2z                   [source, target]        the layer map, z→z'
    att                   [head, source, target]  z→u
    att.heads             [head]                  the attention head that each row is about, ascending
    mlp                   [dimension, target]     u→z'
    mlp.per_head          [any head, target]      its sums over each head's dimensions, where u is the heads
    mlp.difference        [target]                sum of the contributions less the total, before rounding
    composed.product      [source, target]        Σ_h att·mlp
    composed.conserving   [source, target]        the same with normalised att; NaN where its shares are not known
    composed.converged    [target]                whether all that was composed and compared had converged

Beside each of z2z, att and mlp stands its certificate, with the map's axes less source or dimension:

    .total                float64   L_j(1), what a column sums to
    .completeness_error   float64   how far it is from doing so, relative
    .entry_error          float64   an estimate of how far all its entries are off, relative; NaN: none is made
    .nodes                int64     nodes that it took
    .converged            bool
    .status               uint8     an index into STATUSES
    .in_float64           bool      whether it was integrated again in float64; not there where none was

Beside each composition, [target] and float64: .distance, .normalised_distance, .pearson (of it and the layer map; NaN
where undefined), unless tokens were merged into words. Maps and compositions have the result's own precision.

Of sentences that were measured for an experiment a layer holds `pairs.<what>`, [column, pair], and nothing else:
lig_core.experiment.measured says what.

A selection of the k largest has, in place of a map or composition, the two arrays .top (the values, [.., rank,
target]) and .top_index (the source or dimension of each).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import orjson
from safetensors.numpy import load, save

from lig_core.contract import ALL_MAPS, MapName

Array = np.ndarray[Any, Any]
Head = Mapping[str, Any]

STATUSES = ("ok", "zero_path", "noise_limited", "discontinuous", "budget", "fixed")
"""The values of `.status`, by index. The order is the format's: new ones go to the end."""
NEGLIGIBLE = 1e-3
"""A total below this share of the largest of its map is measured against that share, not against itself."""
UNKNOWN_SUMS = tuple(STATUSES.index(status) for status in ("zero_path", "noise_limited"))
"""Of such a column no more is known than that its sum is about 0, as it is of a head whose contributions cancel."""
DOUBT = 10.0
"""Of what is made of columns, this many times their tolerance may be off or not known: 1 % for the usual 1e-3."""
TINY = float(np.finfo(np.float64).tiny)
CERTIFICATE = ("total", "completeness_error", "entry_error", "nodes", "converged", "status")
IN_FLOAT64 = "in_float64"
"""The part of a certificate that is not always there."""
DIAGNOSTIC = ("distance", "normalised_distance", "pearson")
COMPOSITIONS = ("composed.product", "composed.conserving")
MAPS: Mapping[str, tuple[str, ...]] = {
    "z2z": ("source", "target"),
    "att": ("head", "source", "target"),
    "mlp": ("dimension", "target"),
    **dict.fromkeys(COMPOSITIONS, ("source", "target")),
}
"""The maps and compositions, and their axes: what is as large as the result is."""
NAMES: Mapping[MapName, str] = {"att": "att", "mlp": "mlp", "layer": "z2z", "composed": "composed"}
"""The beginnings of the names of the tensors of each map that can be asked for."""
PAIRS = "pairs."
"""The beginning of the names of what was measured of pairs of baselines."""


def _axes() -> dict[str, tuple[str, ...]]:
    axes = dict(MAPS) | {
        "targets": ("target",),
        "visible": ("end", "target"),
        "att.heads": ("head",),
        "mlp.per_head": ("any head", "target"),
        "mlp.difference": ("target",),
        "composed.converged": ("target",),
    }
    for name, own in MAPS.items():
        beside = own[:-2] + own[-1:]
        parts = DIAGNOSTIC if name in COMPOSITIONS else (*CERTIFICATE, IN_FLOAT64)
        axes |= {f"{name}.{part}": beside for part in parts}
        axes |= {f"{name}.{part}": (*own[:-2], "rank", "target") for part in ("top", "top_index")}
    return axes


AXES: Mapping[str, tuple[str, ...]] = _axes()
"""The axes of every tensor that a layer may hold."""


@dataclass(frozen=True, eq=False)
class LayerArrays:
    """The maps of one layer; what was not asked for is not in `arrays`.

    quadrature is the rule's name, engines the engine's by map (z2z, att); labels says whether documents repeat
    matrices entry by entry; replay_error is how far a replay of the block at z was from the model's own output, its
    largest difference relative to the largest output (None: a result made before it was kept).
    """

    index: int
    arrays: Mapping[str, Array]
    quadrature: str = ""
    engines: Mapping[str, str] = field(default_factory=dict)
    labels: bool = False
    replay_error: float | None = None

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @property
    def maps(self) -> tuple[MapName, ...]:
        """The maps it holds, as a request names them."""
        held = {name.partition(".")[0] for name in self.arrays}
        return tuple(name for name in ALL_MAPS if NAMES[name] in held)

    @property
    def pairs(self) -> dict[str, Array]:
        """What was measured of pairs of baselines, by its name; empty where maps are held."""
        return {name.removeprefix(PAIRS): array for name, array in self.arrays.items() if name.startswith(PAIRS)}

    @property
    def targets(self) -> list[int]:
        """The tokens that columns are about."""
        return self.arrays["targets"].tolist()

    @property
    def heads(self) -> list[int]:
        """The attention heads that att is about; none without att."""
        return self.arrays["att.heads"].tolist() if "att.heads" in self.arrays else []

    @property
    def converged(self) -> bool:
        """True if every column of every map converged."""
        return all(bool(array.all()) for name, array in self.arrays.items() if name.endswith(".converged"))

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def about(self) -> dict[str, Any]:
        """All that is no array, as JSON data."""
        return {
            "index": self.index,
            "quadrature": self.quadrature,
            "engines": dict(self.engines),
            "labels": self.labels,
            "replay_error": self.replay_error,
        }

    def take(self, axis: str, positions: Sequence[int]) -> Self:
        """Some positions along one of the axes, in every tensor that has it."""
        taken = {
            name: array.take(positions, AXES[name].index(axis)) if axis in AXES[name] else array
            for name, array in self.arrays.items()
        }
        return replace(self, arrays=taken)

    def to_bytes(self) -> bytes:
        """All of it in the safetensors format, `about` as JSON in the metadata."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.arrays.items()}
        return save(arrays, {"about": orjson.dumps(self.about).decode()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The layer that `to_bytes` wrote, bit for bit; the tensors by name."""
        return cls.stored(load(data), orjson.loads(metadata_of(data)["about"]))

    @classmethod
    def stored(cls, arrays: Mapping[str, Array], about: Mapping[str, Any]) -> Self:
        """The layer of stored tensors and what is about it; those of an earlier version lack the errors of entries."""
        held = dict(sorted(arrays.items()))  # the safetensors library has another order each time
        for name in MAPS:
            if f"{name}.total" in held and f"{name}.entry_error" not in held:
                held[f"{name}.entry_error"] = np.full_like(held[f"{name}.total"], np.nan)
        return cls(arrays=held, **about)


def codes(statuses: Sequence[str]) -> Array:
    """Statuses as indices into STATUSES."""
    return np.array([STATUSES.index(status) for status in statuses], np.uint8)


def head_shares(values: Array, total: Array, entry_error: Array, status: Array) -> tuple[Array, Array]:
    """ATT_h[i→j] / Σ_i ATT_h[i→j] [..., source], and the error of each such column, relative to Σ_i |share| [...].

    values [..., source], and its certificate [...]. A head whose sum is not known passes nothing on: its shares are 0,
    their error 1. Elsewhere the error is that of the sum, which divides, and that of the entries, together.
    """
    sums, size = values.sum(-1), np.abs(values).sum(-1)
    known = ~np.isin(status, UNKNOWN_SUMS) & (np.abs(sums) > TINY)
    shares = np.where(known[..., None], values / np.where(known, sums, 1.0)[..., None], 0.0)
    entries = np.nan_to_num(entry_error) * np.maximum(size, NEGLIGIBLE * total.max())  # a fixed rule makes no estimate
    error = np.abs(sums - total) / np.maximum(np.abs(sums), TINY) + entries / np.maximum(size, TINY)
    return shares, np.where(known, np.minimum(error, 1.0), 1.0)


def largest_places(values: Array, count: int) -> list[tuple[int, ...]]:
    """The indices of the entries of largest absolute value that are known, largest first; of equals the first."""
    order = np.argsort(-np.abs(values).ravel(), kind="stable")[:count]  # NaN come last
    order = order[~np.isnan(values.ravel()[order])]
    return list(zip(*(axis.tolist() for axis in np.unravel_index(order, values.shape)), strict=True))


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata in the safetensors format, whose library reads them from files only.

    A header is its length in 8 bytes, then JSON.
    """
    metadata: dict[str, str] = orjson.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return metadata


@dataclass(frozen=True)
class Result:
    """A head, and layers that are loaded when they are needed: iterating holds one at a time, as often as wanted."""

    head: Head
    indices: Sequence[int]
    load: Callable[[int], LayerArrays]

    @classmethod
    def of(cls, head: Head, layers: Iterable[LayerArrays]) -> Self:
        """A result whose layers are in memory."""
        held = {layer.index: layer for layer in layers}
        return cls(head, list(held), held.__getitem__)

    def __iter__(self) -> Iterator[LayerArrays]:
        return map(self.load, self.indices)
