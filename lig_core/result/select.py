"""Slices of a result: some of its layers, targets, heads and maps; of each column only the largest contributions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Self

import numpy as np

from lig_core.contract import ALL_MAPS, MapName
from lig_core.errors import FieldError, InvalidRequest
from lig_core.result.arrays import MAPS, NAMES, Array, LayerArrays, Result


@dataclass(frozen=True)
class Selection:
    """The parts to keep; None keeps all.

    layers, targets   indices; targets count words where the result was merged into words
    heads             attention heads of `att`
    maps              att, mlp, layer, composed
    top_k             of each column the k contributions of largest |value|, in place of all
    """

    layers: Sequence[int] | None = None
    targets: Sequence[int] | None = None
    heads: Sequence[int] | None = None
    maps: Sequence[MapName] | None = None
    top_k: int | None = None

    @classmethod
    def parse(
        cls,
        *,
        layers: str | None = None,
        targets: str | None = None,
        heads: str | None = None,
        maps: str | None = None,
        top_k: str | int | None = None,
    ) -> Self:
        """A selection from a query's parameters: lists are separated by commas. Raises InvalidRequest."""
        most = None if top_k is None else _integers("top_k", str(top_k))
        if most is not None and (len(most) > 1 or most[0] < 1):
            _refuse("top_k", f"top_k is one number, at least 1; got '{top_k}'")
        return cls(
            layers=None if layers is None else _integers("layers", layers),
            targets=None if targets is None else _integers("targets", targets),
            heads=None if heads is None else _integers("heads", heads),
            maps=None if maps is None else _maps(maps),
            top_k=None if most is None else most[0],
        )


def select(result: Result, selection: Selection) -> Result:
    """The part of a result that is asked for; its head stays that of the whole.

    Layers are cut as they are loaded, the first one at once: what the result does not hold raises InvalidRequest here.
    """
    indices = list(result.indices)
    if selection.layers is not None:
        _require("layers", selection.layers, indices)
        indices = [index for index in indices if index in selection.layers]
    if indices:
        select_layer(result.load(indices[0]), selection)
    return Result(result.head, indices, lambda index: select_layer(result.load(index), selection))


def select_layer(layer: LayerArrays, selection: Selection) -> LayerArrays:
    """The part of one layer that is asked for; `selection.layers` is not looked at. Raises InvalidRequest."""
    for axis, wanted in (("target", selection.targets), ("head", selection.heads)):
        if wanted is not None:
            held = layer.targets if axis == "target" else layer.heads
            _require(f"{axis}s", wanted, held)
            layer = layer.take(axis, [k for k, index in enumerate(held) if index in wanted])
    if selection.maps is not None:
        _require("maps", selection.maps, layer.maps)
        kept = {"targets", *(NAMES[name] for name in selection.maps)}
        arrays = {name: array for name, array in layer.arrays.items() if name.partition(".")[0] in kept}
        layer = replace(layer, arrays=arrays)
    return layer if selection.top_k is None else replace(layer, arrays=_top(layer, selection.top_k))


def listed(held: Collection[Any]) -> str:
    """Names, or numbers with runs shortened: 0 to 3, 7."""
    runs: list[list[Any]] = []
    for one in held:
        if runs and isinstance(one, int) and one == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], one]
        else:
            runs.append([one])
    return ", ".join(" to ".join(map(str, run)) for run in runs)


def _top(layer: LayerArrays, count: int) -> dict[str, Array]:
    """Each map by its largest entries; of equals the first."""
    arrays = {}
    for name, array in layer.arrays.items():
        if name not in MAPS:
            arrays[name] = array
            continue
        places = np.argsort(-np.abs(array), axis=-2, kind="stable")[..., :count, :]
        arrays[f"{name}.top"] = np.take_along_axis(array, places, -2)
        arrays[f"{name}.top_index"] = places
    return arrays


def _require(name: str, wanted: Iterable[Any], held: Collection[Any]) -> None:
    missing = [str(one) for one in wanted if one not in held]
    if missing:
        _refuse(name, f"the result does not hold {name} {', '.join(missing)}; it holds {listed(held) or 'none'}")


def _integers(name: str, text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        _refuse(name, f"{name} takes whole numbers separated by commas, such as 0,5; got '{text}'")
    return [int(part) for part in parts]


def _maps(text: str) -> list[MapName]:
    parts = [part.strip() for part in text.split(",")]
    unknown = [part for part in parts if part not in ALL_MAPS]
    if unknown:
        _refuse("maps", f"no map is called '{unknown[0]}'; name some of {', '.join(ALL_MAPS)}, separated by commas")
    return [name for name in ALL_MAPS if name in parts]


def _refuse(name: str, detail: str) -> NoReturn:
    raise InvalidRequest(detail, errors=[FieldError(f"/query/{name}", detail)])
