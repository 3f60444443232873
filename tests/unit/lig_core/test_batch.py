"""Texts in one sequence have the numbers that each has alone; those that share one are alike.

Of every other family by `make batches`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lig_core import explain
from lig_core.batch import explain_batch, stream_batch
from lig_core.contract import MOST_PACKED, parse_request
from lig_core.errors import InvalidRequest, NotConverged
from tests.models.batches import ROUNDING, assert_as_alone, texts
from tests.models.tiny_models import loaded
from tests.support.closeness import assert_close


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gemma2", "gpt_neox", "t5_encoder"])
def test_a_batch_is_its_texts_alone(name: str) -> None:
    assert_as_alone(name)


def test_a_batch_by_name_is_what_explain_returns_of_each_text() -> None:
    some = ["The cat sat.", "Paris is the capital of France.", "No."]
    options: dict[str, Any] = {"model": "minilm", "granularity": "layer", "layers": [2], "dtype": "float64"}
    results = explain_batch(some, **options)
    for text, result in zip(some, results, strict=True):
        alone = explain(text, **options)
        assert result["tokens"] == alone["tokens"]
        assert (
            result["layers"]["2"]["z2z"]["certificate"]["nodes"] == alone["layers"]["2"]["z2z"]["certificate"]["nodes"]
        )
        assert_close(*(torch.tensor(found["layers"]["2"]["z2z"]["matrix"]) for found in (result, alone)), ROUNDING)
    assert explain_batch([], **options) == []
    with pytest.raises(InvalidRequest, match="layers"):
        explain_batch(some, **options | {"layers": [40]})
    with pytest.raises(NotConverged):
        explain_batch(some, **options | {"num_steps": 1, "on_unconverged": "fail"})


def test_packs_are_of_like_requests_and_of_a_bounded_length() -> None:
    model = loaded("bert")
    some = [parse_request({"text": text, "model": "bert", "layers": [0]}) for text in texts(1, 60)]
    others = [parse_request({"text": text, "model": "bert", "layers": [1]}) for text in texts(2, 3)]
    places = [place for pack, _, _ in stream_batch(some + others, model) for place in pack]
    assert sorted(places) == list(range(63))
    assert set(places[-3:]) == {60, 61, 62}
    assert MOST_PACKED < 60 * 11
