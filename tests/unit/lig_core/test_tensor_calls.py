"""Tensor calls of a short text: what it costs around the arithmetic, and the same on any machine."""

from __future__ import annotations

import pytest

from benchmarks.calls import SENTENCE, calls_of
from lig_core.loading.loaded import LoadedModel

MOST = {"layer": 7_000, "att": 5_500, "mlp": 4_600, "composed": 12_200}


@pytest.mark.parametrize(("granularity", "most"), MOST.items())
def test_a_sentence_takes_no_more_tensor_calls(minilm: LoadedModel, granularity: str, most: int) -> None:
    tokens, calls = calls_of(minilm, SENTENCE, granularity)
    assert tokens == 9
    assert calls <= most
