"""Whether texts in one sequence have the numbers that each has alone."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from lig_core.batch import stream_batch
from lig_core.contract import parse_request
from lig_core.method import stream
from lig_core.result.arrays import LayerArrays
from tests.models.tiny_models import WORDS, loaded

COUNTED = ("targets", "visible", "heads", "nodes", "status", "converged")
"""Arrays that are the same to the last digit."""
ROUNDING = 1e-12
"""Of the largest entry, or of 1: errors are relative to a column already, and one token alone has maps of nothing."""
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"baseline_att": "zero", "baseline_layer": "zero", "baseline_mlp": "att_itb_a0"},
    {"baseline_att": "itb_map_ratio", "baseline_layer": "itb_zero_ratio"},
)


def texts(seed: int, count: int) -> list[str]:
    """Texts of 1 to 9 words."""
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS.split(), k=drawn.randint(1, 9))) for _ in range(count)]


def assert_as_alone(name: str) -> None:
    """All maps of some texts of a family's tiny model in float64: values, certificates, nodes, statuses, engines."""
    model = loaded(name)
    for options in OPTIONS:
        asked = {"model": name, "granularity": "all", "layers": [1], "dtype": "float64", **options}
        requests = [parse_request({"text": text, **asked}) for text in texts(len(name), 4)]
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
            largest = max(1.0, float(np.nanmax(np.abs(array), initial=0.0)))
            close = np.isclose(mine.arrays[key], array, rtol=0.0, atol=ROUNDING * largest, equal_nan=True)
            assert close.all(), key
