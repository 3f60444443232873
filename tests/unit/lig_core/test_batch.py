"""Texts in one sequence have the numbers that each has alone: values, certificates, nodes and statuses."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from lig_core.batch import MOST_PACKED, stream_batch
from lig_core.contract import parse_request
from lig_core.method import stream
from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.tiny_models import FAMILIES, WORDS, loaded

COUNTED = ("targets", "visible", "heads", "nodes", "status", "converged")
"""Arrays that are the same to the last digit."""
ROUNDING = 1e-12
"""Of the largest entry, or of 1: errors are relative to a column already, and one token alone has maps of nothing."""
OPTIONS: dict[str, dict[str, Any]] = {
    "from themselves": {"granularity": "all"},
    "zero": {"granularity": "all", "baseline_att": "zero", "baseline_layer": "zero", "baseline_mlp": "att_itb_a0"},
    "ratios": {"granularity": ["att", "layer"], "baseline_att": "itb_map_ratio", "baseline_layer": "itb_zero_ratio"},
}


def texts(seed: int, count: int) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS.split(), k=drawn.randint(1, 9))) for _ in range(count)]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_its_texts_alone(name: str, options: str) -> None:
    model = loaded(name)
    requests = [
        parse_request({"text": text, "model": name, "layers": [1], "dtype": "float64", **OPTIONS[options]})
        for text in texts(len(name), 4)
    ]
    for place, head, layers in stream_batch(requests, model):
        alone_head, alone = stream(requests[place], model)
        assert head == alone_head
        for mine, theirs in zip(layers, alone, strict=True):
            assert mine.engines == theirs.engines
            assert mine.arrays.keys() == theirs.arrays.keys()
            for key, array in theirs.arrays.items():
                if key.endswith(COUNTED):
                    assert np.array_equal(mine.arrays[key], array), key
                else:
                    largest = max(1.0, float(np.nanmax(np.abs(array), initial=0.0)))
                    close = np.isclose(mine.arrays[key], array, rtol=0.0, atol=ROUNDING * largest, equal_nan=True)
                    assert close.all(), key


def test_packs_are_of_like_requests_and_of_a_bounded_length() -> None:
    model = loaded("bert")
    some = [parse_request({"text": text, "model": "bert", "layers": [0]}) for text in texts(1, 60)]
    others = [parse_request({"text": text, "model": "bert", "layers": [1]}) for text in texts(2, 3)]
    places = [place for place, _, _ in stream_batch(some + others, model)]
    assert sorted(places) == list(range(63))
    assert set(places[-3:]) == {60, 61, 62}
    assert MOST_PACKED < 60 * 11
