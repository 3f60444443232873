"""Layers come one by one, after the head, and are what the whole result holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lig_core.contract import ExplainRequest, Progress
from lig_core.errors import Cancelled, InvalidRequest, NotConverged
from lig_core.loading.loaded import LoadedModel
from lig_core.method import run, stream
from lig_core.result.plain.text import to_json
from lig_core.result.render import document
from tests.models.tiny_models import loaded

TEXT = "the quick fox sat"


def asked(**fields: Any) -> ExplainRequest:
    return ExplainRequest(text=TEXT, **{"num_steps": 2, "dtype": "float64", **fields})


@pytest.mark.parametrize("fields", [{}, {"layers": [2, 0], "target_tokens": [1]}, {"merge_subwords": True}])
def test_head_and_layers_make_the_document(fields: dict[str, Any]) -> None:
    head, layers = stream(asked(**fields), loaded("bert"))
    assert to_json(document(head, layers)) == to_json(run(asked(**fields), loaded("bert")))


def test_the_head_comes_before_the_model_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    capture = LoadedModel.capture
    monkeypatch.setattr(LoadedModel, "capture", lambda *args: calls.append(1) or capture(*args))
    head, layers = stream(asked(layers=[2, 0]), loaded("bert"))
    assert head["tokens"] == TEXT.split()
    assert head["config"]["layers"] == [2, 0]
    assert {"layers", "converged"}.isdisjoint(head)
    assert calls == []
    assert [layer.index for layer in layers] == [2, 0]
    assert calls == [1]


def test_what_the_request_gets_wrong_is_told_before_the_head() -> None:
    with pytest.raises(InvalidRequest, match="tokens 0 to 3"):
        stream(asked(target_tokens=[4]), loaded("bert"))


def test_skipped_layers_are_left_out_and_count_as_done() -> None:
    seen: list[Progress] = []
    head, layers = stream(asked(), loaded("bert"), progress=seen.append, skip={1, 9})
    found = list(layers)
    assert [layer.index for layer in found] == [0, 2]
    assert head["config"]["layers"] == [0, 1, 2]
    assert [(step.done, step.total) for step in seen] == [(1, 3), (2, 3), (3, 3)]
    (last,) = [layer for layer in stream(asked(), loaded("bert"))[1] if layer.index == 2]
    for name, array in found[1].arrays.items():
        assert np.array_equal(array, last[name], equal_nan=array.dtype.kind == "f"), name


def test_with_every_layer_skipped_the_model_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(LoadedModel, "capture")
    seen: list[Progress] = []
    assert list(stream(asked(), loaded("bert"), progress=seen.append, skip=range(3))[1]) == []
    assert [(step.done, step.total) for step in seen] == [(3, 3)]


def test_a_layer_that_misses_its_tolerance_is_not_handed_out() -> None:
    fields = {"num_steps": 1, "granularity": "layer", "baseline_layer": "zero"}
    misses = [not layer.converged for layer in stream(asked(**fields), loaded("gpt2"))[1]]
    first = misses.index(True)
    handed_out = []
    with pytest.raises(NotConverged, match=f"layer {first} misses .* more num_steps \\(left out, it is adaptive\\)"):
        for layer in stream(asked(**fields, on_unconverged="fail"), loaded("gpt2"))[1]:
            handed_out.append(layer.index)
    assert handed_out == list(range(first))


def test_stopping_is_asked_for_layer_by_layer() -> None:
    stop = False
    _, layers = stream(asked(), loaded("bert"), should_stop=lambda: stop)
    next(layers)
    stop = True
    with pytest.raises(Cancelled):
        next(layers)


def test_between_layers_the_caller_computes_in_its_own_precision() -> None:
    layers = stream(asked(granularity="layer"), loaded("bert"))[1]
    next(layers)
    assert torch.zeros(1, dtype=torch.float64).float().dtype == torch.float32
