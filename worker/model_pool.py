"""Keeps the models used last in memory, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from lig_core.catalog import ModelCard
from lig_core.errors import OutOfMemory
from worker.engine import Engine


@dataclass(frozen=True)
class Loaded:
    """A model in memory, and the bytes of its parameters and buffers."""

    model: Any
    size: int


class ModelPool:
    """Loaded models of one process, `budget` bytes at most; the one unused for longest goes first."""

    def __init__(self, engine: Engine, device: str | None, budget: int) -> None:
        self.engine = engine
        self._device = device
        self._budget = budget
        self._loaded: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._measured: dict[tuple[str, str], int] = {}

    @property
    def used(self) -> int:
        """Bytes of all loaded models."""
        return sum(loaded.size for loaded in self._loaded.values())

    def contents(self) -> list[dict[str, Any]]:
        """What is loaded, the one used last at the end."""
        return [{"model": name, "dtype": dtype, "bytes": x.size} for (name, dtype), x in self._loaded.items()]

    def holds(self, card: ModelCard, dtype: str) -> bool:
        """Whether the model is in memory."""
        return (card.name, dtype) in self._loaded

    def get(self, card: ModelCard, dtype: str) -> Any:
        """The model in that precision, loaded if need be; raises OutOfMemory for one larger than the budget."""
        key = (card.name, dtype)
        if key not in self._loaded:
            self._load(key, card)
        self._loaded.move_to_end(key)
        return self._loaded[key].model

    def _load(self, key: tuple[str, str], card: ModelCard) -> None:
        # Room is made before loading: both at once might not fit.
        self._make_room(card, self._measured.get(key) or self.engine.expected_size(card, key[1]))
        model = self.engine.load(card, self._device, key[1])
        size = self._measured[key] = self.engine.size(model)
        try:
            self._make_room(card, size)
        except OutOfMemory:
            del model
            self.engine.release()
            raise
        self._loaded[key] = Loaded(model, size)

    def _make_room(self, card: ModelCard, need: int | None) -> None:
        """Evict until `need` bytes are free; all of it where nobody knows."""
        if need is not None and need > self._budget:
            raise OutOfMemory(
                f"model '{card.name}' takes {need:,} bytes and this worker keeps {self._budget:,} at most; "
                "raise LIG_MODEL_BUDGET, or ask for a smaller model or dtype"
            )
        evicted = False
        while self._loaded and (need is None or self.used + need > self._budget):
            self._loaded.popitem(last=False)
            evicted = True
        if evicted:
            self.engine.release()
