"""Several texts in one padded forward pass, each integrated on its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lig_core.blocks.capture import BlockCall
from lig_core.contract import ExplainRequest
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.tensors import LayerMaps
from lig_core.method import explain_layer, quadrature_for

Explained = tuple[tuple[str, ...], list[LayerMaps]]


def explain_together(requests: Sequence[ExplainRequest], model: LoadedModel) -> list[Explained]:
    """The tokens of each text and the maps of its layers; padding follows the sources that are the text's."""
    with model.computing():
        encoded = model.encode([request.subject for request in requests])
        together = zip(requests, encoded.texts, model.capture(encoded.inputs), strict=True)
        return [(text.tokens, _maps(model, request, len(text.tokens), calls)) for request, text, calls in together]


def _maps(model: LoadedModel, request: ExplainRequest, tokens: int, calls: Sequence[BlockCall]) -> list[LayerMaps]:
    rule, targets = quadrature_for(request), torch.arange(tokens)
    layers = request.layers or range(model.num_layers)
    return [explain_layer(model.integrator(layer, calls[layer], targets, rule), request) for layer in layers]
