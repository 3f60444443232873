"""What was measured of a sentence, and of the sentences of a pack layer by layer. Imports no torch.

A layer of a pack is LayerArrays of `pairs.<what>`, [column, pair], in the order of the request's pairs; columns are the
targets of its first sentence, then those of its second, and so on. The head says which:

    sentences   of each that was measured: its `place` in the request, text, tokens, relations, head_distances
    left_out    of each that was not: its `place`, and `why`
    config      pairs (their keys), layers, words, most_tokens, rtol, composition
    receipt     as of an explanation
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import load, save

from lig_core.result.arrays import Array, Head, LayerArrays, metadata_of

ABOUT = ("text", "tokens", "relations", "head_distances")


@dataclass(frozen=True)
class Measured:
    """One sentence. Arrays are [layer, target, pair]; `norm` and `still` are those of the pair's layer map.

    still: the layer map's column is 0 throughout; close: the two columns are equal up to rounding, which is what
    stands in for a correlation that is not defined.
    """

    number: int
    about: Mapping[str, Any]
    distance: Array
    norm: Array
    pearson: Array
    converged: Array
    still: Array
    close: Array

    @property
    def normalised_distance(self) -> Array:
        """distance / norm; NaN or infinite where the layer map's column is 0."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.distance / self.norm

    def to_bytes(self) -> bytes:
        """All of it in the safetensors format."""
        arrays = {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        about = {"number": self.number, **self.about}
        return save(arrays, {"about": orjson.dumps(about).decode()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Measured:
        """What `to_bytes` wrote, bit for bit."""
        about = orjson.loads(metadata_of(data)["about"])
        return cls(number=about.pop("number"), about=about, **load(data))


MEASURES = ("distance", "norm", "pearson", "converged", "still", "close")


def sentences_of(head: Head, layers: Sequence[LayerArrays], numbers: Sequence[int]) -> list[Measured]:
    """The sentences of a pack that were measured; `numbers` are those of all that were asked for, by place."""
    stacked = {name: np.stack([layer[f"pairs.{name}"] for layer in layers]) for name in MEASURES}
    counts = [len(one["tokens"]) for one in head["sentences"]]
    found = []
    for one, end, count in zip(head["sentences"], accumulate(counts), counts, strict=True):
        about = {name: one[name] for name in ABOUT}
        own = {name: np.ascontiguousarray(values[:, end - count : end]) for name, values in stacked.items()}
        found.append(Measured(numbers[one["place"]], about, **own))
    return found


def left_out_of(head: Head, numbers: Sequence[int]) -> dict[int, str]:
    """The sentences of a pack that were left out, by number, and why."""
    return {numbers[one["place"]]: one["why"] for one in head["left_out"]}
