"""Sentences measured: for every layer, target and pair, how far the composition is from the layer map.

    distance  ‖LAYER[:, j] − COMPOSED[:, j]‖₂       norm  ‖LAYER[:, j]‖₂       pearson  of the two columns

with COMPOSED = Σ_h ATT_h[i→j] · MLP[j, h]. By words, contributions of a word's tokens are summed on both sides first.
All pairs of a layer take six integrals: layer, att and mlp, each from its two starts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lig_core.batch import Pack, packed
from lig_core.contract import Progress
from lig_core.engines.chunking import Budget
from lig_core.errors import FieldError, InvalidRequest, TextTooLong
from lig_core.experiment.corpora import Sentence
from lig_core.experiment.measured import MEASURES
from lig_core.experiment.pairs import Pair
from lig_core.experiment.request import ExperimentRequest
from lig_core.loading.encoding import Encoded, TextTokens
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.compose import compare, product
from lig_core.maps.integrators import Integrator
from lig_core.quadrature import Adaptive
from lig_core.receipt import receipt_of
from lig_core.result.arrays import Array, LayerArrays

Sink = Callable[[int, str, str, int, Array], object]
"""Takes the place of a sentence, a part (layer, composed), a key, a layer and a map, for those who keep maps."""


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


@dataclass(frozen=True)
class _Kept:
    """A sentence that is measured: its place in the request, its text read, what its columns are."""

    place: int
    sentence: Sentence
    encoded: Encoded
    units: Units

    @property
    def text(self) -> TextTokens:
        """Its tokens."""
        return self.encoded.texts[0]

    @property
    def head(self) -> dict[str, Any]:
        return {
            "place": self.place,
            "text": self.sentence.text,
            "tokens": list(self.units.labels),
            "relations": list(self.units.relations),
            "head_distances": list(self.units.head_distances),
        }


def stream(
    request: ExperimentRequest,
    model: LoadedModel,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    skip: Collection[int] = frozenset(),
    sink: Sink | None = None,
) -> tuple[dict[str, Any], Iterator[LayerArrays]]:
    """The head of a pack (`measured`) at once, then its layers, each computed when it is asked for.

    As `lig_core.method.stream`; the iterator raises UnsupportedMap where heads cannot be told.
    """
    layers = list(range(model.num_layers)) if request.layers is None else sorted(request.layers)
    if wrong := [layer for layer in layers if not 0 <= layer < model.num_layers]:
        detail = f"layer {wrong[0]} asked, but {model.card.name} has layers 0 to {model.num_layers - 1}"
        raise InvalidRequest(detail, errors=[FieldError("/layers", detail)])
    kept, left_out = _read(request, model)
    head = {
        "model": model.card.name,
        "model_type": model.card.model_type,
        "config": {
            "pairs": [pair.key for pair in request.chosen_pairs],
            "layers": layers,
            "words": request.words,
            "most_tokens": request.most_tokens,
            "rtol": request.rtol,
            "composition": "product",
        },
        "sentences": [one.head for one in kept],
        "left_out": left_out,
        "receipt": receipt_of(request, model),
    }

    def measured() -> Iterator[LayerArrays]:
        remaining = [layer for layer in layers if layer not in skip]
        packs = list(_packs(kept, model)) if remaining else []
        for done, layer in enumerate([None, *remaining], len(layers) - len(remaining)):
            if layer is not None:
                yield _layer_of_packs(layer, packs, model, request, Budget(should_stop=should_stop), sink)
            if progress is not None:
                progress(Progress(phase="computing", done=done, total=len(layers), unit="layers"))

    return head, measured()


def _read(request: ExperimentRequest, model: LoadedModel) -> tuple[list[_Kept], list[dict[str, Any]]]:
    kept, left_out = [], []
    for place, one in enumerate(request.sentences):
        sentence = one.numbered(place)
        try:
            with model.computing():
                encoded = model.encode([sentence.text])
        except TextTooLong:
            left_out.append({"place": place, "why": "longer than the model takes"})
            continue
        (text,) = encoded.texts
        if len(text.tokens) > request.most_tokens:
            left_out.append({"place": place, "why": f"more than {request.most_tokens} tokens"})
            continue
        kept.append(_Kept(place, sentence, encoded, Units.of(sentence, text, words=request.words)))
    return kept, left_out


def _packs(kept: Sequence[_Kept], model: LoadedModel) -> Iterator[tuple[Sequence[_Kept], Pack]]:
    for run in packed([len(one.text.tokens) for one in kept], model.device):
        yield kept[run], Pack([one.encoded for one in kept[run]], model)


def _layer_of_packs(
    index: int,
    packs: Sequence[tuple[Sequence[_Kept], Pack]],
    model: LoadedModel,
    request: ExperimentRequest,
    budget: Budget,
    sink: Sink | None,
) -> LayerArrays:
    pairs, quadrature = request.chosen_pairs, Adaptive.asked(request.rtol)
    rows: list[dict[str, Array]] = []
    for kept, pack in packs:
        targets = [torch.arange(len(one.text.tokens), device=model.device) for one in kept]
        with model.computing():
            integrators = pack.integrators(index, targets, quadrature, budget)
            for one, integrator in zip(kept, integrators, strict=True):
                rows.append(_layer(integrator, index, pairs, one, sink))
    none = np.empty((0, len(pairs)))
    flags = ("converged", "still", "close")
    arrays = {
        f"pairs.{name}": np.concatenate([row[name] for row in rows] or [none.astype(bool) if name in flags else none])
        for name in MEASURES
    }
    return LayerArrays(index, arrays, quadrature=quadrature.name)


def _layer(
    integrator: Integrator, index: int, pairs: Sequence[Pair], kept: _Kept, sink: Sink | None
) -> dict[str, Array]:
    units = kept.units
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
            sink(kept.place, "layer", name, index, values.T.numpy())
        for key, values in composed.items():
            sink(kept.place, "composed", key, index, values.T.numpy())
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
