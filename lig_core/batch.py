"""Many texts with one model: short ones share sequences, so that what is around the arithmetic is paid once for all.

The result of each is that of `run`: the same columns, certificates and nodes, up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from lig_core.blocks.capture import BlockCall
from lig_core.blocks.packing import NotPackedError, PackedCall
from lig_core.config import plain_options
from lig_core.contract import MOST_PACKED, ExplainRequest, Progress, parse_request
from lig_core.engines.chunking import Budget
from lig_core.loading.encoding import Encoded, TextTokens
from lig_core.loading.kept import one_at_a_time
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.integrators import Integrator
from lig_core.method import Asked, of_model, quadrature_for, reading_of
from lig_core.quadrature import Quadrature
from lig_core.result.arrays import LayerArrays
from lig_core.result.render import document
from lig_core.result.unconverged import warn_unconverged
from lig_core.result.viewer.show import Explanation

LONGEST_SHARED = 28
"""Tokens of the longest text that shares a sequence on the CPU, where computing what is masked outweighs the calls.

Sixteen texts of 20, 24, 28, 32 and 41 tokens took 0.79, 0.80, 0.84, 0.89 and 0.94 of the processor time that they take
one by one on a busy machine (the layer map of `minilm`, one thread); on a quiet one those of 20 took 0.88 and those of
41 1.13, which crosses at 30.
"""


def explain_batch(
    texts: Sequence[str],
    *,
    model: str | LoadedModel = "bert-base-uncased",
    device: str | torch.device | None = None,
    **options: Any,
) -> list[Explanation]:
    """`explain` of many texts with the same options: short ones share sequences, which takes a fraction of the time.

    The results are in the order of the texts, each as `explain` returns it, up to the rounding of sums. What is wrong
    with one text is raised for all.
    """
    if not texts:
        return []
    name = model if isinstance(model, str) else model.card.name
    requests = [parse_request(plain_options({"text": text, "model": name, "labels": True} | options)) for text in texts]
    with one_at_a_time:
        requests, loaded = of_model(requests, model, device)
        results = run_batch(requests, loaded)
    for request, result in zip(requests, results, strict=True):
        warn_unconverged(request.on_unconverged, result, stacklevel=2)
    return results


def run_batch(
    requests: Sequence[ExplainRequest], model: LoadedModel, *, should_stop: Callable[[], bool] | None = None
) -> list[Explanation]:
    """The results of some requests, in their order, as `run` gives each. What one gets wrong is raised for all."""
    results: dict[int, Explanation] = {}
    for places, heads, layers in stream_batch(requests, model, should_stop=should_stop):
        for place, head, own in zip(places, heads, zip(*layers, strict=True), strict=True):
            results[place] = Explanation(document(head, own))
    return [results[place] for place in range(len(requests))]


def stream_batch(
    requests: Sequence[ExplainRequest],
    model: LoadedModel,
    *,
    progress: Callable[[int, Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    skip: Collection[int] = frozenset(),
) -> Iterator[tuple[list[int], list[dict[str, Any]], Iterator[list[LayerArrays]]]]:
    """As `stream` of each, pack by pack: the places of its requests, their heads, and of each layer what each has.

    The layers of a pack are computed as they are asked for, before the next pack; `progress` is told of each place.
    What one request gets wrong is raised for all.
    """
    for places, encoded in _packs(requests, model):
        chosen, pack = [requests[place] for place in places], Pack(encoded, model)
        asked = [Asked.of(request, model, text) for request, text in zip(chosen, pack.texts, strict=True)]

        def report(done: int, places: list[int] = places, total: int = len(asked[0].layers)) -> None:
            if progress is not None:
                for place in places:
                    progress(place, Progress(phase="computing", done=done, total=total, unit="layers"))

        yield places, [one.head for one in asked], _layers(pack, asked, report, should_stop, skip)


def _layers(
    pack: Pack,
    asked: Sequence[Asked],
    report: Callable[[int], None],
    should_stop: Callable[[], bool] | None,
    skip: Collection[int],
) -> Iterator[list[LayerArrays]]:
    """Each layer of the texts of a pack, but for those in `skip`, which are reported as done."""
    model, quadrature, targets = asked[0].model, quadrature_for(asked[0].request), [one.targets for one in asked]
    remaining = [layer for layer in asked[0].layers if layer not in skip]
    report(len(asked[0].layers) - len(remaining))
    for done, layer in enumerate(remaining, len(asked[0].layers) - len(remaining) + 1):
        with model.computing():
            integrators = pack.integrators(layer, targets, quadrature, Budget(should_stop=should_stop))
            found = [one.explain(layer, integrator) for one, integrator in zip(asked, integrators, strict=True)]
        report(done)
        yield found


def _packs(requests: Sequence[ExplainRequest], model: LoadedModel) -> Iterator[tuple[list[int], list[Encoded]]]:
    """Places and texts of requests that go together: whose `shared` is the same, of like lengths (see `packed`)."""
    alike: dict[str, list[int]] = {}
    for place, request in enumerate(requests):
        alike.setdefault(request.shared, []).append(place)
    for places in alike.values():
        reading = reading_of(requests[places[0]])
        encoded = {place: model.encode([requests[place].subject], **reading) for place in places}
        lengths = {place: len(one.texts[0].tokens) for place, one in encoded.items()}
        ordered = sorted(places, key=lengths.__getitem__)
        for run in packed([lengths[place] for place in ordered], model.device):
            yield ordered[run], [encoded.pop(place) for place in ordered[run]]


class Pack:
    """Some texts, each encoded by itself: one sequence where the model takes it, one by one where not."""

    def __init__(self, encoded: Sequence[Encoded], model: LoadedModel) -> None:
        self._encoded, self._model = encoded, model

    @property
    def texts(self) -> list[TextTokens]:
        """Their tokens."""
        return [text for one in self._encoded for text in one.texts]

    def integrators(
        self, layer: int, targets: Sequence[Tensor], quadrature: Quadrature, budget: Budget
    ) -> list[Integrator]:
        """One for each text, for some tokens of it."""
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
        if len(self._encoded) == 1:
            return None
        try:
            return self._model.capture_packed(self._model.joined(self._encoded))
        except NotPackedError:
            return None

    @cached_property
    def _alone(self) -> list[list[BlockCall]]:
        return [self._model.capture(one.inputs)[0] for one in self._encoded]


def packed(lengths: Sequence[int], device: torch.device) -> Iterator[slice]:
    """Runs of texts of these lengths that share a sequence: of MOST_PACKED tokens at most, or of one text.

    On the CPU of half as many, where computing what is masked outweighs the calls sooner, and of none but texts of
    LONGEST_SHARED tokens at most.
    """
    on_cpu = device.type == "cpu"
    most = MOST_PACKED // 2 if on_cpu else MOST_PACKED
    start = tokens = 0
    for place, length in enumerate(lengths):
        if place > start and (tokens + length > most or (on_cpu and max(length, lengths[start]) > LONGEST_SHARED)):
            yield slice(start, place)
            start, tokens = place, 0
        tokens += length
    if start < len(lengths):
        yield slice(start, len(lengths))
