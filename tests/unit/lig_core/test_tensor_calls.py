"""Tensor calls of a short text: what it costs around the arithmetic, and the same on any machine."""

from __future__ import annotations

import pytest

from benchmarks.calls import SENTENCE, calls_of
from lig_core.loading.loaded import LoadedModel

MOST = {"layer": (6_400, 2_800), "att": (5_400, 2_700), "mlp": (4_400, 1_500), "composed": (12_000, 5_600)}
"""Calls, and those that compute."""


@pytest.mark.parametrize(("granularity", "most"), MOST.items())
def test_a_sentence_takes_no_more_tensor_calls(minilm: LoadedModel, granularity: str, most: tuple[int, int]) -> None:
    tokens, calls = calls_of(minilm, SENTENCE, granularity)
    assert tokens == 9
    assert calls.count <= most[0]
    assert calls.computing <= most[1]
