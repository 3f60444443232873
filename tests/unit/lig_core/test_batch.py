"""Texts in one sequence have the numbers that each has alone; those that share one are alike.

Of every other family by `make batches`.
"""

from __future__ import annotations

import pytest

from lig_core.batch import MOST_PACKED, stream_batch
from lig_core.contract import parse_request
from tests.models.batches import assert_as_alone, texts
from tests.models.tiny_models import loaded


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama", "gemma2", "gpt_neox", "t5_encoder"])
def test_a_batch_is_its_texts_alone(name: str) -> None:
    assert_as_alone(name)


def test_packs_are_of_like_requests_and_of_a_bounded_length() -> None:
    model = loaded("bert")
    some = [parse_request({"text": text, "model": "bert", "layers": [0]}) for text in texts(1, 60)]
    others = [parse_request({"text": text, "model": "bert", "layers": [1]}) for text in texts(2, 3)]
    places = [place for place, _, _ in stream_batch(some + others, model)]
    assert sorted(places) == list(range(63))
    assert set(places[-3:]) == {60, 61, 62}
    assert MOST_PACKED < 60 * 11
