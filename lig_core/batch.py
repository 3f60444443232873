"""Many texts with one model: short ones share sequences, so that what is around the arithmetic is paid once for all.

The result of each is that of `run`: the same columns, certificates and nodes, up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

from lig_core.blocks.capture import BlockCall
from lig_core.blocks.packing import NotPackedError, PackedCall
from lig_core.contract import ExplainRequest
from lig_core.engines.chunking import Budget
from lig_core.loading.encoding import Encoded
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.integrators import Integrator
from lig_core.method import Asked, encoded_texts, quadrature_for
from lig_core.result.arrays import LayerArrays
from lig_core.result.render import document

MOST_PACKED = 256
"""Tokens of one sequence: attention is computed between all of them, and most of it is masked."""
OWN = {"text", "tokens", "target_tokens", "target_head", "labels", "merge_subwords", "on_unconverged", "priority"}
"""Fields in which requests that share a sequence may differ."""


def run_batch(
    requests: Sequence[ExplainRequest], model: LoadedModel, *, should_stop: Callable[[], bool] | None = None
) -> list[dict[str, Any]]:
    """The results of some requests, in their order, as `run` gives each. What one gets wrong is raised for all."""
    results: dict[int, dict[str, Any]] = {}
    for place, head, layers in stream_batch(requests, model, should_stop=should_stop):
        results[place] = document(head, iter(layers))
    return [results[place] for place in range(len(requests))]


def stream_batch(
    requests: Sequence[ExplainRequest], model: LoadedModel, *, should_stop: Callable[[], bool] | None = None
) -> Iterator[tuple[int, dict[str, Any], list[LayerArrays]]]:
    """Each request's place among them, the head of its result and its layers, as soon as all of these are known."""
    for places in _packs(requests, model):
        texts = _Texts([requests[place] for place in places], model)
        asked = [
            Asked.of(request, model, text) for request, text in zip(texts.requests, texts.encoded.texts, strict=True)
        ]
        found: list[list[LayerArrays]] = [[] for _ in places]
        for layer in asked[0].layers:
            with model.computing():
                integrators = texts.integrators(layer, asked, Budget(should_stop=should_stop))
                for one, integrator, layers in zip(asked, integrators, found, strict=True):
                    layers.append(one.explain(layer, integrator))
        for place, one, layers in zip(places, asked, found, strict=True):
            yield place, one.head, layers


def _packs(requests: Sequence[ExplainRequest], model: LoadedModel) -> Iterator[list[int]]:
    """Places of requests that go together: alike but for OWN, of similar lengths, up to MOST_PACKED tokens."""
    alike: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        alike.setdefault(request.model_dump_json(exclude=OWN), []).append(place)
    for places in alike.values():
        lengths = {place: len(encoded_texts([requests[place]], model).texts[0].tokens) for place in places}
        pack: list[int] = []
        for place in sorted(places, key=lengths.__getitem__):
            if pack and sum(lengths[each] for each in pack) + lengths[place] > MOST_PACKED:
                yield pack
                pack = []
            pack.append(place)
        yield pack


class _Texts:
    """The texts of a pack: one sequence where the model takes it, one by one where not."""

    def __init__(self, requests: Sequence[ExplainRequest], model: LoadedModel) -> None:
        self.requests, self._model = requests, model
        with model.computing():
            self.encoded: Encoded = encoded_texts(requests, model)

    def integrators(self, layer: int, asked: Sequence[Asked], budget: Budget) -> list[Integrator]:
        """One for each text."""
        targets, quadrature = [one.targets for one in asked], quadrature_for(self.requests[0])
        if self._packed is not None:
            try:
                return self._model.packed_integrators(layer, self._packed[layer], targets, quadrature, budget)
            except NotPackedError:
                pass
        return [
            self._model.integrator(layer, calls[layer], own, quadrature, budget)
            for calls, own in zip(self._alone, targets, strict=True)
        ]

    @cached_property
    def _packed(self) -> list[PackedCall] | None:
        if len(self.requests) == 1:
            return None
        try:
            return self._model.capture_packed(self.encoded)
        except NotPackedError:
            return None

    @cached_property
    def _alone(self) -> list[list[BlockCall]]:
        return [self._model.capture(encoded_texts([request], self._model).inputs)[0] for request in self.requests]
