"""Keeps the models used last in memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from lig_core.catalog import ModelCard
from worker.engine import Engine


class ModelPool:
    """Loaded models of one process, at most `size` of them; the one unused for longest goes first."""

    def __init__(self, engine: Engine, device: str | None, size: int) -> None:
        self._engine = engine
        self._device = device
        self._size = size
        self._loaded: OrderedDict[tuple[str, str], Any] = OrderedDict()

    def get(self, card: ModelCard, dtype: str) -> Any:
        """The model in that precision, loaded if need be."""
        key = (card.name, dtype)
        if key not in self._loaded:
            # Room is made before loading: both at once might not fit.
            while len(self._loaded) >= self._size:
                self._loaded.popitem(last=False)
            self._loaded[key] = self._engine.load(card, self._device, dtype)
        self._loaded.move_to_end(key)
        return self._loaded[key]
