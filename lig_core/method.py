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
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from lig_core.config import LIGConfig, plain_options
from lig_core.contract import ExplainRequest, MapName, Progress, parse_request
from lig_core.engines.chunking import Budget
from lig_core.errors import NotConverged
from lig_core.loading.encoding import TextTokens
from lig_core.loading.given import asked_of
from lig_core.loading.kept import kept_model, one_at_a_time
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.compose import Composition, compose
from lig_core.maps.integrators import Integrator
from lig_core.maps.tensors import LayerMaps, layer_arrays
from lig_core.models.catalog import check_against_model, check_indices, find_model
from lig_core.models.tokens import require_targets, require_word_marker, whole_words
from lig_core.quadrature import Adaptive, GaussLegendre, Quadrature
from lig_core.receipt import result_head
from lig_core.result.arrays import LayerArrays
from lig_core.result.render import document
from lig_core.result.unconverged import remedies, warn_unconverged
from lig_core.result.verdict import Verdict
from lig_core.result.viewer.show import Explanation
from lig_core.result.words import Words


def explain(
    text: str | None = None,
    *,
    tokens: list[str] | None = None,
    model: str | LoadedModel = "bert-base-uncased",
    num_steps: int | None = None,
    granularity: str | list[str] = "all",
    baseline_att: str = "self_input_token",
    baseline_mlp: str = "zero",
    baseline_layer: str = "self_input_token",
    layers: list[int] | None = None,
    target_tokens: list[int] | None = None,
    target_head: int | None = None,
    device: str | torch.device | None = None,
    include_residual_connection: bool = True,
    labels: bool = True,
    config: LIGConfig | None = None,
    progress: Callable[[Progress], None] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Layer-wise Integrated Gradients of one text, as JSON-able data.

    `tokens` stand in place of the text: the model's own, special ones included, as `tokens` of a result has them.
    model is a name, or a model that `load()` has loaded, which keeps its own device and precision.
    num_steps None integrates adaptively to `rtol` (1e-3); a number takes that many Gauss-Legendre nodes.
    Baselines go by their names here or in the paper (`ITB-zeroRatio`). device is `cpu` or `cuda`; None takes a GPU
    where there is one. Models stay loaded from call to call, in a fourth of the device's memory. `more` are the further
    fields of `ExplainRequest`: u_node, rtol, on_unconverged, dtype, merge_subwords, special_tokens, prefix_space.
    `config` stands in place of all options.
    Matrices are [source][target]. Layers are arrays until they are read, and lists, with labels, from then on; a long
    result is best written by `lig_core.result.saved.save_result`.
    Raises a LigError that says what to do. Where a column does not converge, it issues a NotConvergedWarning, once a
    call, that says in which maps, and what to do; on_unconverged 'ignore' silences it.
    """
    if config is not None:
        request, model, device = config.request(text, tokens), config.model, config.device
    else:
        options = {
            "text": text,
            "tokens": tokens,
            "model": model if isinstance(model, str) else model.card.name,
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
        request = parse_request(plain_options(options))
    with one_at_a_time:
        (request,), loaded = of_model([request], model, device)
        result = run(request, loaded, progress=progress)
    warn_unconverged(request.on_unconverged, result, stacklevel=2)
    return result


def of_model(
    requests: Sequence[ExplainRequest], model: str | LoadedModel, device: str | torch.device | None
) -> tuple[list[ExplainRequest], LoadedModel]:
    """Requests about one model, checked against it, and the model: the one given, or one that is kept."""
    if isinstance(model, LoadedModel):
        return [asked_of(request, model, device) for request in requests], model
    card = find_model(requests[0].model)
    named = [request.named(card.name) for request in requests]
    for request in named:
        check_against_model(request, card)
    return named, kept_model(card, device, named[0].dtype)


def run(
    request: ExplainRequest,
    model: LoadedModel,
    *,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Explanation:
    """Explain one text with a loaded model."""
    return Explanation(document(*stream(request, model, progress=progress, should_stop=should_stop)))


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
    `should_stop`, asked before every chunk of work, says so, and NotConverged, where the request says to fail then, in
    place of the first layer that misses its tolerance. Layers in `skip` are left out; progress counts them as done.
    """
    with model.computing():
        encoded = model.encode([request.subject], **reading_of(request))
    asked = Asked.of(request, model, encoded.texts[0])

    def report(done: int) -> None:
        if progress is not None:
            progress(Progress(phase="computing", done=done, total=len(asked.layers), unit="layers"))

    def explained() -> Iterator[LayerArrays]:
        remaining = [layer for layer in asked.layers if layer not in skip]
        report(len(asked.layers) - len(remaining))
        if not remaining:
            return
        with model.computing():
            (calls,) = model.capture(encoded.inputs)
        for place, layer in enumerate(remaining, len(asked.layers) - len(remaining) + 1):
            with model.computing():  # and no longer: what the caller does between layers is not the model's
                budget = Budget(should_stop=should_stop)
                quadrature = quadrature_for(request)
                arrays = asked.explain(layer, model.integrator(layer, calls[layer], asked.targets, quadrature, budget))
            report(place)
            yield arrays

    return asked.head, explained()


@dataclass(frozen=True)
class Asked:
    """A request for one model, its text read: which layers and target tokens are computed, and how they are told."""

    request: ExplainRequest
    model: LoadedModel
    layers: Sequence[int]
    targets: Tensor
    by_tokens: dict[str, Any]

    @classmethod
    def of(cls, request: ExplainRequest, model: LoadedModel, text: TextTokens) -> Self:
        """Raises what the request gets wrong about the model."""
        check_indices(request, model.card.name, model.num_layers, model.num_heads)
        if request.merge_subwords and request.tokens is not None:
            require_word_marker(model.word_marker, model.card.name)
        layers = request.layers if request.layers is not None else list(range(model.num_layers))
        targets = _targets(request, text.words)
        return cls(request, model, layers, targets, result_head(request, model, text, targets.tolist(), layers))

    @cached_property
    def _words(self) -> Words | None:
        return Words.of(self.by_tokens) if self.request.merge_subwords else None

    @property
    def head(self) -> dict[str, Any]:
        """The result without its layers."""
        return self.by_tokens if self._words is None else self._words.head(self.by_tokens)

    def explain(self, layer: int, integrator: Integrator) -> LayerArrays:
        """One layer of the result; raises NotConverged where the request says to fail and a column has not."""
        maps = explain_layer(integrator, self.request, self.model.maps(self.request, layer))
        arrays = layer_arrays(layer, maps, self.targets.tolist(), self.model.dtype, labels=self.request.labels)
        arrays = arrays if self._words is None else self._words.layer(arrays)
        if self.request.on_unconverged == "fail":
            _require_convergence(arrays, self.request)
        return arrays


def reading_of(request: ExplainRequest) -> dict[str, bool]:
    """How a request's text is read."""
    return {"special_tokens": request.special_tokens, "prefix_space": request.prefix_space}


def explain_layer(integrate: Integrator, request: ExplainRequest, maps: Sequence[MapName] | None = None) -> LayerMaps:
    """Some maps of one layer at one text; absent: those that the request asks for."""
    maps = request.maps if maps is None else maps
    head = request.target_head
    every_head = range(integrate.num_heads)
    heads = every_head if head is None or "composed" in maps else [head]

    layer = integrate.layer(request.baseline_layer) if {"layer", "composed"} & {*maps} else None
    att = integrate.att(request.baseline_att, heads) if {"att", "composed"} & {*maps} else None
    mlp_heads = mlp = None
    if "composed" in maps or ("mlp" in maps and request.u_node == "heads"):
        mlp_heads = integrate.mlp_from_heads(request.baseline_mlp)
    if "mlp" in maps and request.u_node == "residual":
        mlp = integrate.mlp_from_residual(request.baseline_mlp, bypass=request.include_residual_connection)

    composed: Composition | None = None
    if "composed" in maps and layer is not None and att is not None and mlp_heads is not None:
        composed = compose(layer, att, mlp_heads, alone=integrate.alone(), rtol=integrate.quadrature.rtol)
    return LayerMaps(
        quadrature=integrate.quadrature,
        replay_error=integrate.replay_error,
        layer=layer if "layer" in maps else None,
        att=(att.only(head) if att is not None and head is not None else att) if "att" in maps else None,
        mlp=(mlp or mlp_heads) if "mlp" in maps else None,
        composed=composed,
        visible=integrate.visible(),
    )


def quadrature_for(request: ExplainRequest) -> Quadrature:
    """Adaptive to `rtol`, or the fixed rule that `num_steps` asks for."""
    if request.num_steps is None:
        return Adaptive.asked(request.rtol)
    return GaussLegendre(request.num_steps, rtol=request.rtol)


def _targets(request: ExplainRequest, words: Sequence[int]) -> Tensor:
    """The tokens whose columns are computed, on the host; by words, all of the words that some token was asked of."""
    targets = request.target_tokens if request.target_tokens is not None else range(len(words))
    require_targets(targets, len(words))
    return torch.tensor(whole_words(targets, words) if request.merge_subwords else sorted(targets))


def _require_convergence(layer: LayerArrays, request: ExplainRequest) -> None:
    if not layer.converged:
        missed = Verdict.of([layer]).unconverged
        where = ", ".join(f"{each['columns']} columns of {each['map']}" for each in missed)
        raise NotConverged(
            f"layer {layer.index} misses the tolerance in {where}; {remedies(dict(request))}take the values with their "
            "certificates: on_unconverged='warn'"
        )
