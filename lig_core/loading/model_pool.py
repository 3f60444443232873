"""Keeps the models used last in memory, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lig_core.errors import ModelChanged, OutOfMemory
from lig_core.loading.loader import Loader
from lig_core.models.catalog import ModelCard
from lig_core.models.identity import model_identity


@dataclass(frozen=True)
class Loaded:
    """A model in memory, the bytes of its parameters and buffers, and what identifies its content."""

    model: Any
    size: int
    identity: str | None


class ModelPool:
    """Loaded models of one process, `budget` bytes at most; the one unused for longest goes first.

    One whose files were replaced is let go of when it is asked for the next time, and loaded anew. One that is larger
    than the budget is refused, or else, where the pool is not `strict`, loaded alone and not kept.
    """

    def __init__(self, backend: Loader, device: str | None, budget: int, *, strict: bool = True) -> None:
        self.backend = backend
        self._device = device
        self._budget = budget
        self._strict = strict
        self._loaded: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._measured: dict[tuple[str, str], int] = {}

    @property
    def used(self) -> int:
        """Bytes of all loaded models."""
        return sum(loaded.size for loaded in self._loaded.values())

    def contents(self) -> list[dict[str, Any]]:
        """The models that are loaded, the one used last at the end."""
        return [{"model": name, "dtype": dtype, "bytes": x.size} for (name, dtype), x in self._loaded.items()]

    def get(
        self, card: ModelCard, dtype: str, wanted: str | None = None, *, loading: Callable[[], None] = lambda: None
    ) -> Loaded:
        """The model in that precision, loaded if need be; `loading` is called first then.

        wanted: what identifies the content that it has to have; None: any.

        Raises ModelChanged where it has other content or changes while it is read, and OutOfMemory for one larger than
        the budget of a strict pool.
        """
        key, identity = (card.name, dtype), model_identity(card)
        self._let_go_of_stale(card.name, identity)
        if wanted not in (None, identity) and not card.is_hub:  # of the hub's, the card names the commit
            present = "another version of its package is" if card.is_bundled else "other files are"
            raise ModelChanged(
                f"model '{card.name}' is not the one that the job was accepted with: {present} in its place; send the "
                "request again, and if that goes on, give the API and all workers the same models"
            )
        if key not in self._loaded:
            loading()
            loaded = self._load(key, card, identity)
            if loaded.size > self._budget:
                return loaded
            self._loaded[key] = loaded
        self._loaded.move_to_end(key)
        return self._loaded[key]

    def _let_go_of_stale(self, name: str, identity: str | None) -> None:
        stale = [key for key, loaded in self._loaded.items() if key[0] == name and loaded.identity != identity]
        for key in stale:
            del self._loaded[key], self._measured[key]
        if stale:
            self.backend.release()

    def _load(self, key: tuple[str, str], card: ModelCard, identity: str | None) -> Loaded:
        # Room is made before loading: both at once might not fit.
        self._make_room(card, self._measured.get(key) or self.backend.expected_size(card, key[1]))
        model = self.backend.load(card, self._device, key[1])
        size = self._measured[key] = self.backend.size(model)
        try:
            identity = _identity_after_loading(card, identity)
            self._make_room(card, size)
        except (ModelChanged, OutOfMemory):
            del model
            self.backend.release()
            raise
        return Loaded(model, size, identity)

    def _make_room(self, card: ModelCard, need: int | None) -> None:
        """Evict until `need` bytes are free; all of it where nobody knows."""
        if self._strict and need is not None and need > self._budget:
            raise OutOfMemory(
                f"model '{card.name}' takes {need:,} bytes and this worker keeps {self._budget:,} at most; "
                "raise LIG_MODEL_BUDGET, or ask for a smaller model or dtype"
            )
        evicted = False
        while self._loaded and (need is None or self.used + need > self._budget):
            self._loaded.popitem(last=False)
            evicted = True
        if evicted:
            self.backend.release()


def _identity_after_loading(card: ModelCard, before: str | None) -> str | None:
    """Of a hub model, loading may have brought another commit here, or the first; raises ModelChanged for a folder."""
    after = model_identity(card)
    if not card.is_hub and after != before:
        raise ModelChanged(f"the files of model '{card.name}' were replaced while they were read; send it again")
    return after
