"""The places of z, u and z' in a model, by its config or by its loaded blocks. Only the second imports torch."""

from __future__ import annotations

from typing import Any

from lig_core.models.boundaries import from_config
from lig_core.models.catalog import find_model


def describe_boundaries(model: str, *, device: str | None = None, load_weights: bool = False) -> dict[str, Any]:
    """The nodes z, u, z' of a model, the maps it supports and how that is known.

    Without weights the answer comes from the config (here, or on the hub) and the table of families; with weights
    the model's own blocks are replayed and every statement is verified. Raises ModelNotFound and UnsupportedModel.
    """
    card = find_model(model, ask_hub=not load_weights)
    if load_weights:
        from lig_core.loading.loaded import load_model  # noqa: PLC0415 - torch is needed for weights alone

        return {**load_model(card, device=device).boundaries(), "model": card.name}
    return {**from_config(card), "model": card.name}
