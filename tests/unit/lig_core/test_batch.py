"""Texts in one sequence have the numbers that each has alone; those that share one are alike.

Of every other family by `make batches`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lig_core import explain
from lig_core.batch import LONGEST_SHARED, explain_batch, packed, stream_batch
from lig_core.contract import MOST_PACKED, parse_request
from lig_core.errors import InvalidRequest, NotConverged
from lig_core.loading.encoding import Encoded
from lig_core.loading.loaded import LoadedModel
from lig_core.method import stream
from lig_core.result.arrays import IN_FLOAT64, STATUSES
from tests.models.batches import ROUNDING, assert_as_alone, texts
from tests.models.tiny_models import WORDS, loaded
from tests.support.closeness import assert_close, assert_close_maps


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


@pytest.mark.parametrize(
    ("lengths", "on_cpu", "on_gpu"),
    [
        ([3, LONGEST_SHARED, LONGEST_SHARED + 1, 41], [2, 1, 1], [4]),
        ([41, 3, 4, 41, 41, 5], [1, 2, 1, 1, 1], [6]),
        ([MOST_PACKED // 16] * 9, [8, 1], [9]),
        ([MOST_PACKED + 1, 1, MOST_PACKED], [1, 1, 1], [1, 1, 1]),
        ([LONGEST_SHARED + 1], [1], [1]),
        ([], [], []),
    ],
)
def test_long_texts_go_alone_on_the_cpu(lengths: list[int], on_cpu: list[int], on_gpu: list[int]) -> None:
    for device, sizes in (("cpu", on_cpu), ("cuda", on_gpu)):
        runs = list(packed(lengths, torch.device(device)))
        assert [run.stop - run.start for run in runs] == sizes
        assert [place for run in runs for place in range(run.start, run.stop)] == [*range(len(lengths))]


@pytest.mark.parametrize("name", ["bert", "llama"])
def test_nothing_moves_in_a_text_of_one_token_alone_or_beside_others(name: str) -> None:
    """In float32, too: no rounding is looked for where there is nothing to round."""
    model = loaded(name, torch.float32)
    asked = {"model": name, "granularity": "all", "layers": [1], "special_tokens": False}
    one, other = (parse_request({"text": text, **asked}) for text in ("fox", "the lazy dog"))
    (alone,) = stream(one, model)[1]
    ((_, _, layers),) = stream_batch([one, other], model)
    for layer in (alone, next(iter(layers))[0]):
        assert len(layer.arrays["targets"]) == 1
        for map in ("z2z", "att"):
            assert (layer.arrays[f"{map}.status"] == STATUSES.index("zero_path")).all()
            assert f"{map}.{IN_FLOAT64}" not in layer.arrays
        assert layer.arrays["composed.conserving"].tolist() == [[0.0]]


def test_short_and_long_texts_together_keep_their_order_and_results(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = loaded("bert"), []
    capture, capture_packed = LoadedModel.capture, LoadedModel.capture_packed

    def alone(self: LoadedModel, inputs: Any) -> Any:
        sequences.append(1)
        return capture(self, inputs)

    def shared(self: LoadedModel, encoded: Encoded) -> Any:
        sequences.append(len(encoded.texts))
        return capture_packed(self, encoded)

    monkeypatch.setattr(LoadedModel, "capture", alone)
    monkeypatch.setattr(LoadedModel, "capture_packed", shared)
    words, counts = WORDS.split(), (LONGEST_SHARED + 9, 3, LONGEST_SHARED + 1, 5, 4)
    some = [" ".join(words[(place + k) % len(words)] for k in range(count)) for place, count in enumerate(counts)]
    options: dict[str, Any] = {"model": model, "granularity": "layer", "layers": [1], "num_steps": 2}
    results = explain_batch(some, **options, on_unconverged="ignore")
    assert sequences == [3, 1, 1]
    for text, result in zip(some, results, strict=True):
        expected = explain(text, **options, on_unconverged="ignore")
        assert result["tokens"] == expected["tokens"]
        assert_close_maps(result, expected, ROUNDING)


def test_packs_are_of_like_requests_and_of_a_bounded_length() -> None:
    model = loaded("bert")
    some = [parse_request({"text": text, "model": "bert", "layers": [0]}) for text in texts(1, 60)]
    others = [parse_request({"text": text, "model": "bert", "layers": [1]}) for text in texts(2, 3)]
    places = [place for pack, _, _ in stream_batch(some + others, model) for place in pack]
    assert sorted(places) == list(range(63))
    assert set(places[-3:]) == {60, 61, 62}
    assert MOST_PACKED < 60 * 11
