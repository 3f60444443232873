"""The models that `explain()` keeps from call to call: to load one takes longer than to explain a sentence with it."""

from __future__ import annotations

import threading
from functools import cache

import torch

from lig_core.loading.loaded import LoadedModel, device_of
from lig_core.loading.loader import Loader
from lig_core.loading.model_pool import ModelPool
from lig_core.models.catalog import ModelCard

KEPT_SHARE = 4
"""Models may stay in a fourth of a device's memory."""

one_at_a_time = threading.RLock()
"""Held while a kept model is got and used: to replay a block changes its modules for a while."""


def kept_model(card: ModelCard, device: str | torch.device | None, dtype: str) -> LoadedModel:
    """The model as `load_model` would load it now: kept by its content, device and dtype, loaded where it is not."""
    place = device_of(device)
    model: LoadedModel = _pool("auto" if place is None else str(place)).get(card, dtype).model
    return model


@cache
def _pool(device: str) -> ModelPool:
    loader = Loader()
    return ModelPool(loader, device, loader.memory(device) // KEPT_SHARE, strict=False)
