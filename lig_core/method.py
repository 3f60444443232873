"""The method, top to bottom: one forward pass gives every layer's z → u → z'; each map is integrated.

For each layer asked for:
    layer     z→z'  the whole block
    att       z→u   each head's output before the output projection
    mlp       u→z'  the rest of the block, over u's dimensions
    composed  Σ_h att·mlp, compared with layer
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lig_core.blocks.capture import BlockCall
from lig_core.config import LIGConfig, with_plain_indices
from lig_core.contract import ExplainRequest, Progress, parse_request
from lig_core.engines.chunking import Budget
from lig_core.errors import NotConverged
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.maps.compose import Composition, compose
from lig_core.maps.integrators import Integrator
from lig_core.maps.tensors import LayerMaps, layer_arrays
from lig_core.models.catalog import check_against_model, check_indices, find_model
from lig_core.models.tokens import require_targets, require_word_marker, whole_words
from lig_core.quadrature import Adaptive, GaussLegendre, Quadrature
from lig_core.receipt import result_head
from lig_core.result.arrays import LayerArrays
from lig_core.result.render import document, plain
from lig_core.result.unconverged import warn_unconverged
from lig_core.result.verdict import Verdict
from lig_core.result.words import Words


def explain(
    text: str | None = None,
    *,
    tokens: list[str] | None = None,
    model: str = "bert-base-uncased",
    num_steps: int | None = None,
    granularity: str | list[str] = "all",
    baseline_att: str = "self_input_token",
    baseline_mlp: str = "zero",
    baseline_layer: str = "self_input_token",
    layers: list[int] | None = None,
    target_tokens: list[int] | None = None,
    target_head: int | None = None,
    device: str | None = None,
    include_residual_connection: bool = True,
    labels: bool = True,
    config: LIGConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Layer-wise Integrated Gradients of one text, as JSON-able data.

    `tokens` stand in place of the text: the model's own, special ones included, as `tokens` of a result has them.
    num_steps None integrates adaptively to `rtol` (1e-3); a number takes that many Gauss-Legendre nodes.
    device is `cpu` or `cuda`; None takes a GPU where there is one. `more` are the further fields of
    `ExplainRequest`: u_node, rtol, on_unconverged, dtype, merge_subwords. `config` stands in place of all options.
    Matrices are [source][target]. Raises a LigError that says what to do. Where a column does not converge, it issues
    a NotConvergedWarning, once a call, that says in which maps, and what to do; on_unconverged 'ignore' silences it.
    """
    if config is not None:
        return _explain(config.request(text, tokens), config.device, progress)
    asked = with_plain_indices(
        {
            "text": text,
            "tokens": tokens,
            "model": model,
            "num_steps": num_steps,
            "granularity": granularity,
            "baseline_att": baseline_att,
            "baseline_mlp": baseline_mlp,
            "baseline_layer": baseline_layer,
            "layers": layers,
            "target_tokens": target_tokens,
            "target_head": target_head,
            "include_residual_connection": include_residual_connection,
            "labels": labels,
            **more,
        }
    )
    return _explain(parse_request(asked), device, progress)


def _explain(
    request: ExplainRequest, device: str | None, progress: Callable[[Progress], None] | None
) -> dict[str, Any]:
    card = find_model(request.model)
    request = request.named(card.name)
    check_against_model(request, card)
    result = plain(run(request, load_model(card, device=device, dtype=request.dtype), progress=progress))
    warn_unconverged(request.on_unconverged, result, stacklevel=3)
    return result


def run(
    request: ExplainRequest,
    model: LoadedModel,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Explain one text with a loaded model. Arrays in the result are NumPy's; NaN stands for not asked for."""
    return run_batch([request], model, progress=progress, should_stop=should_stop)[0]


def run_batch(
    requests: Sequence[ExplainRequest],
    model: LoadedModel,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[dict[str, Any]]:
    """Explain several texts after one padded forward pass; each gets the numbers that it gets alone.

    Texts of like length go well together: a short text is computed at the length of the longest. `should_stop` is
    asked before every chunk of work; once it says so, Cancelled is raised.
    """
    explained = _stream_batch(requests, model, progress=progress, should_stop=should_stop, skip=frozenset())
    return [document(head, layers) for head, layers in explained]


def stream(
    request: ExplainRequest,
    model: LoadedModel,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    skip: Collection[int] = frozenset(),
) -> tuple[dict[str, Any], Iterator[LayerArrays]]:
    """The head of the result at once, then its layers, each computed when it is asked for.

    What the request gets wrong is raised here, what computing meets is raised by the iterator: Cancelled soon after
    `should_stop` says so, and NotConverged, where the request says to fail then, in place of the first layer that
    misses its tolerance. Layers in `skip` are left out; progress counts them as done.
    """
    ((head, layers),) = _stream_batch([request], model, progress=progress, should_stop=should_stop, skip=skip)
    return head, layers


def _stream_batch(
    requests: Sequence[ExplainRequest],
    model: LoadedModel,
    *,
    progress: Callable[[Progress], None] | None,
    should_stop: Callable[[], bool] | None,
    skip: Collection[int],
) -> list[tuple[dict[str, Any], Iterator[LayerArrays]]]:
    """A head and layers for each text; the forward pass that they share is made for the first layer asked for."""
    if not requests:
        return []
    for request in requests:
        check_indices(request, model.card.name, model.num_layers, model.num_heads)
        if request.merge_subwords and request.tokens is not None:
            require_word_marker(model.word_marker, model.card.name)
    with model.computing():
        encoded = model.encode([request.subject for request in requests])

    @cache
    def captured() -> list[list[BlockCall]]:
        with model.computing():
            return model.capture(encoded.inputs)

    asked = [r.layers if r.layers is not None else list(range(model.num_layers)) for r in requests]
    targets = [_targets(r, t.words, model.device) for r, t in zip(requests, encoded.texts, strict=True)]
    skipped = sum(layer in skip for layers in asked for layer in layers)
    counter = _Counter(progress, done=skipped, total=sum(map(len, asked)))

    def computed(text: int, layer: int) -> LayerArrays:
        request, call = requests[text], captured()[text][layer]
        with model.computing():  # and no longer: what the caller does between layers is not the model's
            budget = Budget(should_stop=should_stop)
            integrator = model.integrator(layer, call, targets[text], quadrature_for(request), budget)
            maps = explain_layer(integrator, request)
        count = len(encoded.tokens[text])
        return layer_arrays(layer, maps, targets[text].tolist(), count, model.dtype, labels=request.labels)

    def explained(text: int, words: Words | None) -> Iterator[LayerArrays]:
        counter.report()
        for layer in asked[text]:
            if layer in skip:
                continue
            found = computed(text, layer)
            found = found if words is None else words.layer(found)
            if requests[text].on_unconverged == "fail":
                _require_convergence(found)
            counter.count()
            yield found

    results = []
    for text, request in enumerate(requests):
        head = result_head(request, model, encoded.texts[text], targets[text].tolist(), asked[text])
        words = Words.of(head) if request.merge_subwords else None
        results.append((head if words is None else words.head(head), explained(text, words)))
    return results


@dataclass
class _Counter:
    """Reports how many layers of all texts are done: once at the start, then whenever one more is."""

    progress: Callable[[Progress], None] | None
    done: int
    total: int
    told: int = -1

    def count(self) -> None:
        self.done += 1
        self.report()

    def report(self) -> None:
        if self.progress is not None and self.told != self.done:
            self.told = self.done
            self.progress(Progress(phase="computing", done=self.done, total=self.total, unit="layers"))


def explain_layer(integrate: Integrator, request: ExplainRequest) -> LayerMaps:
    """The maps asked for of one layer at one text."""
    asked = request.maps
    head = request.target_head
    every_head = range(integrate.num_heads)
    heads = every_head if head is None or "composed" in asked else [head]

    layer = integrate.layer(request.baseline_layer) if {"layer", "composed"} & {*asked} else None
    att = integrate.att(request.baseline_att, heads) if {"att", "composed"} & {*asked} else None
    mlp_heads = mlp = None
    if "composed" in asked or ("mlp" in asked and request.u_node == "heads"):
        mlp_heads = integrate.mlp_from_heads(request.baseline_mlp)
    if "mlp" in asked and request.u_node == "residual":
        mlp = integrate.mlp_from_residual(request.baseline_mlp, bypass=request.include_residual_connection)

    composed: Composition | None = None
    if "composed" in asked and layer is not None and att is not None and mlp_heads is not None:
        composed = compose(layer, att, mlp_heads)
    return LayerMaps(
        quadrature=integrate.quadrature,
        layer=layer if "layer" in asked else None,
        att=(att.only(head) if att is not None and head is not None else att) if "att" in asked else None,
        mlp=(mlp or mlp_heads) if "mlp" in asked else None,
        composed=composed,
    )


def quadrature_for(request: ExplainRequest) -> Quadrature:
    """Adaptive to `rtol`, or the fixed rule that `num_steps` asks for."""
    if request.num_steps is None:
        return Adaptive(rtol=request.rtol)
    return GaussLegendre(request.num_steps, rtol=request.rtol)


def _targets(request: ExplainRequest, words: Sequence[int], device: torch.device) -> Tensor:
    """The tokens whose columns are computed; by words, all of the words that some token was asked of."""
    asked = request.target_tokens if request.target_tokens is not None else range(len(words))
    require_targets(asked, len(words))
    return torch.tensor(whole_words(asked, words) if request.merge_subwords else sorted(asked), device=device)


def _require_convergence(layer: LayerArrays) -> None:
    if not layer.converged:
        missed = Verdict.of([layer]).unconverged
        where = ", ".join(f"{each['columns']} columns of {each['map']}" for each in missed)
        raise NotConverged(
            f"layer {layer.index} misses the tolerance in {where}; ask for a larger rtol, "
            "dtype float64, or on_unconverged='warn' to get the values with their certificates"
        )
