"""What is known of models, without a look at the disk for every request."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lig_core.catalog import ModelCard, files_fingerprint, find_model, model_identity
from service.settings import Settings

FRESH_SECONDS = 1.0
"""How soon a model whose files were replaced is noticed."""
MOST_MODELS = 256


@dataclass(frozen=True)
class KnownModel:
    """A model's card, and what tells its files from others: see `model_identity` and `files_fingerprint`."""

    card: ModelCard
    identity: str
    files: str | None


class KnownModels:
    """Finds models, and remembers for a moment what it found; raises what `find_model` does."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._found: dict[str, tuple[float, KnownModel]] = {}

    def find(self, name: str) -> KnownModel:
        """The model of this name."""
        at, known = self._found.get(name, (0.0, None))
        if known is None or time.monotonic() - at > FRESH_SECONDS:
            card = find_model(name, self._settings.models_folder, ask_hub=self._settings.ask_hub)
            identity = model_identity(card)
            known = KnownModel(card, identity, files_fingerprint(card, identity))
            if len(self._found) >= MOST_MODELS:
                self._found = {}
            self._found[name] = time.monotonic(), known
        return known
