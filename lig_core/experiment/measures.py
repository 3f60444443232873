"""Sentences measured: for every layer, target and pair, how far the composition is from the layer map.

    distance  ‖LAYER[:, j] − COMPOSED[:, j]‖₂       norm  ‖LAYER[:, j]‖₂       pearson  of the two columns

with COMPOSED = Σ_h ATT_h[i→j] · MLP[j, h]. By words, contributions of a word's tokens are summed on both sides first.
All pairs of a layer take six integrals: layer, att and mlp, each from its two starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import torch
from safetensors.numpy import load, save
from torch import Tensor

from lig_core.batch import Pack
from lig_core.engines.chunking import Budget
from lig_core.errors import InvalidRequest
from lig_core.experiment.corpora import Sentence
from lig_core.experiment.pairs import Pair
from lig_core.loading.encoding import TextTokens
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.compose import compare, product
from lig_core.maps.integrators import Integrator
from lig_core.quadrature import Quadrature
from lig_core.result.arrays import Array, metadata_of

Sink = Callable[[str, str, int, Array], object]
"""Takes a part (layer, att, mlp, composed), a key, a layer and a map, for those who keep maps."""


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


@dataclass(frozen=True)
class Units:
    """What sources and targets are: tokens, or words as groups of them, with the corpus's relations."""

    labels: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]
    relations: tuple[str | None, ...]
    head_distances: tuple[int | None, ...]

    @classmethod
    def of(cls, sentence: Sentence, text: TextTokens, *, words: bool) -> Units:
        """The tokens of a text, or its words: the corpus's where it has words, else the tokenizer's."""
        places = _corpus_words(sentence, text)
        groups: tuple[tuple[int, ...], ...] = tuple((token,) for token in range(len(text.tokens)))
        if words:
            names = text.words if sentence.words is None else _runs(places)
            groups = tuple(tuple(k for k, name in enumerate(names) if name == word) for word in dict.fromkeys(names))
        labels = tuple("".join(text.labels[token] for token in group) for group in groups)
        owners = [places[group[0]] for group in groups]
        if sentence.heads is None or sentence.relations is None:
            return cls(labels, groups, (None,) * len(groups), (None,) * len(groups))
        heads, relations = sentence.heads, sentence.relations
        return cls(
            labels,
            groups,
            tuple(None if word is None else relations[word] for word in owners),
            tuple(None if word is None or heads[word] == 0 else abs(heads[word] - 1 - word) for word in owners),
        )

    def summed(self, values: Tensor) -> Tensor:
        """[targets, sources] of tokens as [targets, sources] of units."""
        if all(len(group) == 1 for group in self.groups):
            return values
        member = torch.zeros(len(self.groups), values.shape[-1], dtype=values.dtype)
        for unit, group in enumerate(self.groups):
            member[unit, list(group)] = 1
        return member @ values @ member.T

    def every(self, flags: Tensor) -> Tensor:
        """[targets] of tokens: true for the units all of whose tokens are."""
        return torch.stack([flags[list(group)].all() for group in self.groups])


def measure(
    sentences: Sequence[Sentence],
    pack: Pack,
    model: LoadedModel,
    pairs: Sequence[Pair],
    quadrature: Quadrature,
    *,
    layers: Sequence[int],
    words: bool,
    sinks: Sequence[Sink | None],
) -> list[Measured]:
    """All pairs of all layers of the sentences of a pack. Raises UnsupportedMap where heads cannot be told."""
    texts = pack.encoded.texts
    units = [Units.of(sentence, text, words=words) for sentence, text in zip(sentences, texts, strict=True)]
    targets = [torch.arange(len(text.tokens), device=model.device) for text in texts]
    measured: list[list[dict[str, Array]]] = [[] for _ in sentences]
    for layer in layers:
        with model.computing():
            integrators = pack.integrators(layer, targets, quadrature, Budget())
            for found, integrator, own, sink in zip(measured, integrators, units, sinks, strict=True):
                found.append(_layer(integrator, layer, pairs, own, sink))
    return [_measured(*each) for each in zip(sentences, units, measured, strict=True)]


def _measured(sentence: Sentence, units: Units, layers: Sequence[dict[str, Array]]) -> Measured:
    about = {
        "text": sentence.text,
        "tokens": list(units.labels),
        "relations": list(units.relations),
        "head_distances": list(units.head_distances),
    }
    return Measured(sentence.number, about, **{name: np.stack([one[name] for one in layers]) for name in layers[0]})


def _layer(
    integrator: Integrator, index: int, pairs: Sequence[Pair], units: Units, sink: Sink | None
) -> dict[str, Array]:
    heads = range(integrator.num_heads)
    whole = {pair.layer: integrator.layer(pair.layer).attribution for pair in pairs}
    att = {pair.att: integrator.att(pair.att, heads) for pair in pairs}
    mlp = {pair.mlp: integrator.mlp_from_heads(pair.mlp) for pair in pairs}
    columns = {name: units.summed(one.values.double()) for name, one in whole.items()}
    rows: list[dict[str, Tensor]] = []
    composed: dict[str, Tensor] = {}
    for pair in pairs:
        per_head = mlp[pair.mlp].per_head
        assert per_head is not None
        if pair.composed_key not in composed:
            composed[pair.composed_key] = units.summed(product(att[pair.att].values.double(), per_head.double()))
        layer, other = columns[pair.layer], composed[pair.composed_key]
        compared = compare(layer, other)
        fine = att[pair.att].attribution.converged.unflatten(0, (-1, len(heads))).all(-1)
        fine = fine & whole[pair.layer].converged & mlp[pair.mlp].attribution.converged
        rows.append(
            {
                "distance": compared.distance,
                "norm": layer.norm(dim=-1),
                "pearson": compared.pearson,
                "converged": units.every(fine),
                "still": (layer == 0).all(-1),
                "close": torch.isclose(layer, other).all(-1),
            }
        )
    if sink is not None:
        for name, values in columns.items():
            sink("layer", name, index, values.T.numpy())
        for key, values in composed.items():
            sink("composed", key, index, values.T.numpy())
    return {name: torch.stack([row[name] for row in rows], -1).numpy() for name in rows[0]}


def _corpus_words(sentence: Sentence, text: TextTokens) -> list[int | None]:
    """Each token's word of the corpus, by where it begins; None for special tokens, and where there are no words."""
    if sentence.words is None:
        return [None] * len(text.tokens)
    if text.offsets is None:
        raise InvalidRequest("this model's tokenizer does not say where tokens stand; use a corpus without words")
    ends = np.cumsum([len(word) + 1 for word in sentence.words])
    places: list[int | None] = []
    for start, end in text.offsets:
        at = start + (len(sentence.text[start:end]) - len(sentence.text[start:end].lstrip()))
        places.append(None if start == end else int(np.searchsorted(ends, at, side="right")))
    return places


def _runs(places: Sequence[int | None]) -> list[object]:
    """A name for each token's word; special tokens are each their own."""
    return [("special", k) if place is None else place for k, place in enumerate(places)]
