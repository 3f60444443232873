"""Whether texts in one sequence have the numbers that each has alone."""

from __future__ import annotations

import random
from typing import Any, get_args

import numpy as np

from lig_core.batch import stream_batch
from lig_core.contract import AttBaseline, LayerBaseline, MlpBaseline, parse_request
from lig_core.method import stream
from lig_core.result.arrays import TINY, LayerArrays
from tests.models.tiny_models import WORDS, loaded

COUNTED = ("targets", "visible", "heads", "nodes", "status", "converged")
"""Arrays that are the same to the last digit."""
ROUNDING = 1e-12
"""Of the largest entry, or of 1: one token alone has maps of nothing."""
JUMPING = 1e-6
"""The same of columns that are not certified: rounding decides on which side of a jump of L the last nodes are."""
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"baseline_att": "zero", "baseline_layer": "zero", "baseline_mlp": "att_itb_a0"},
    {"baseline_att": "itb_map_ratio", "baseline_layer": "itb_zero_ratio"},
)


def texts(seed: int | str, count: int) -> list[str]:
    """Texts of 1 to 9 words."""
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS.split(), k=drawn.randint(1, 9))) for _ in range(count)]


def drawn_options(seed: str) -> dict[str, Any]:
    """Options that every model and text takes."""
    drawn = random.Random(seed)
    options = {
        "baseline_att": drawn.choice(get_args(AttBaseline)),
        "baseline_layer": drawn.choice(get_args(LayerBaseline)),
        "baseline_mlp": drawn.choice(get_args(MlpBaseline)),
        "include_residual_connection": drawn.random() < 0.5,
        "num_steps": drawn.choice((None, None, 1, 9)),
        "rtol": drawn.choice((1e-2, 1e-3, 1e-5)),
        "target_tokens": drawn.choice((None, None, [0])),
        "target_head": drawn.choice((None, None, 1)),
    }
    return options | ({"u_node": "heads"} if options["include_residual_connection"] and drawn.random() < 0.5 else {})


def assert_as_alone(name: str, seed: int = 0, drawn: int = 0) -> None:
    """All maps of drawn texts of a family's tiny model in float64: values, certificates, nodes, statuses, engines.

    By OPTIONS, and so many more that are drawn.
    """
    model = loaded(name)
    for options in (*OPTIONS, *(drawn_options(f"{name} {seed} {k}") for k in range(drawn))):
        asked = {"model": name, "granularity": "all", "layers": [1], "dtype": "float64", **options}
        requests = [parse_request({"text": text, **asked}) for text in texts(f"{name} {seed}", 4)]
        for places, heads, layers in stream_batch(requests, model):
            for place, head, own in zip(places, heads, zip(*layers, strict=True), strict=True):
                alone_head, alone = stream(requests[place], model)
                assert head == alone_head
                for mine, theirs in zip(own, alone, strict=True):
                    _assert_same(mine, theirs, one_token=len(head["tokens"]) == 1)


def _assert_same(mine: LayerArrays, theirs: LayerArrays, *, one_token: bool) -> None:
    """One token alone has several exact paths, and maps of nothing or of rounding."""
    assert one_token or mine.engines == theirs.engines
    assert mine.arrays.keys() == theirs.arrays.keys()
    for key, array in theirs.arrays.items():
        if key.endswith(COUNTED):
            assert np.array_equal(mine.arrays[key], array), key
        elif not (one_token and key.endswith("entry_error")):
            known = np.isfinite(array)
            assert np.array_equal(mine.arrays[key][~known], array[~known], equal_nan=True), key
            found, right = (np.where(known, x, 0.0) for x in (mine.arrays[key], array))
            room = _room(theirs, key) * max(1.0, float(np.abs(right).max(initial=0.0)))
            assert (np.abs(found - right) <= room).all(), key


def _room(layer: LayerArrays, key: str) -> Any:
    """By how much entries of an array may differ, relative to its largest; columns are last in its shape.

    What is divided by little may differ by more: certificates are relative to their columns, and a head's shares in a
    conserving composition to its sum.
    """
    arrays, (map, *part) = layer.arrays, key.split(".")
    room: Any = ROUNDING
    if part and part[-1] in ("completeness_error", "entry_error"):
        room = _magnified(arrays[f"{map}.total"], float(arrays[f"{map}.total"].max()))
    if part and part[0] == "conserving":
        room = _magnified(np.abs(arrays["att"].sum(1)), float(np.abs(arrays["att"]).max())).max(0)
    converged = arrays.get(f"{map}.converged")
    return room if converged is None else np.where(np.atleast_2d(converged).all(0), room, np.maximum(room, JUMPING))


def _magnified(by: Any, largest: float) -> Any:
    """Rounding of the largest, divided by something else."""
    return ROUNDING * np.maximum(1.0, largest / np.maximum(by, max(ROUNDING * largest, TINY)))
