"""Sentences measured in this process, by a loaded model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lig_core.experiment.conduct import Portion
from lig_core.experiment.measured import ABOUT
from lig_core.experiment.measures import stream
from lig_core.experiment.outputs.authors import Maps
from lig_core.loading.loaded import LoadedModel
from lig_core.result.arrays import Head, LayerArrays


class Here:
    """One model in this process; `maps` is a folder to keep every map in, in the authors' files."""

    def __init__(self, model: LoadedModel, maps: Path | None = None) -> None:
        self._model, self._maps = model, maps

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model.card.name

    @property
    def num_layers(self) -> int:
        """How many layers it has."""
        return self._model.num_layers

    def measured(self, portions: Iterable[Portion]) -> Iterator[tuple[Portion, Head, list[LayerArrays]]]:
        """The head and the layers of each portion, one after the other."""
        for portion in portions:
            if self._maps is None:
                head, layers = stream(portion.request, self._model)
                yield portion, head, list(layers)
            else:
                yield self._with_maps(portion, self._maps)

    def _with_maps(self, portion: Portion, folder: Path) -> tuple[Portion, Head, list[LayerArrays]]:
        maps = [Maps(folder, sentence) for sentence in portion.sentences]
        head, layers = stream(portion.request, self._model, sink=lambda place, *one: maps[place].add(*one))
        held = list(layers)
        for one in head["sentences"]:
            about = {name: one[name] for name in ABOUT}
            maps[one["place"]].write(about, nodes=f"adaptive to {portion.request.rtol:g}")
        return portion, head, held
