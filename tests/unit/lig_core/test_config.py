"""LIGConfig: the options of `explain()` in one object."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from lig_core import ExplainRequest, LIGConfig, explain
from lig_core.errors import InvalidRequest
from lig_core.loading.loaded import LoadedModel
from tests.support.closeness import assert_close_maps

DEFAULTS = {field.name: field.default for field in fields(LIGConfig)}


def test_it_has_the_options_of_explain_with_their_defaults() -> None:
    taken = inspect.signature(explain).parameters
    own = {name for name in taken if name not in ("text", "tokens", "config", "progress", "more")}
    assert own <= DEFAULTS.keys()
    assert {name: DEFAULTS[name] for name in own} == {name: taken[name].default for name in own}


def test_it_asks_what_a_request_can_ask_with_the_same_defaults() -> None:
    asked = {name for name in ExplainRequest.model_fields if name not in ("text", "tokens", "priority")}
    assert asked == DEFAULTS.keys() - {"device"}
    # Over HTTP labels are left out unless asked for.
    assert LIGConfig().request("a text") == ExplainRequest(text="a text", labels=True)
    assert LIGConfig().request(tokens=["a"]) == ExplainRequest(tokens=["a"], labels=True)


def test_explaining_with_it_is_explaining_with_its_options(
    minilm: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []

    def kept_model(_card: object, device: str | None, dtype: str) -> LoadedModel:
        loaded.append((device, dtype))
        return minilm

    monkeypatch.setattr("lig_core.method.kept_model", kept_model)
    options = {"model": "minilm", "layers": [1], "granularity": "layer", "rtol": 0.1, "device": "cpu"}
    with_options = explain("A cat sat.", **options)
    with_config = explain("A cat sat.", config=LIGConfig(**options), model="unheard of")
    assert_close_maps(with_config, with_options, 1e-4)
    assert with_config["config"] == with_options["config"]
    assert loaded == [("cpu", "float32")] * 2


def test_what_is_wrong_in_it_is_refused_with_words() -> None:
    with pytest.raises(InvalidRequest, match="baseline_mlp"):
        explain("a text", config=LIGConfig(baseline_mlp="nothing"))


@pytest.mark.parametrize(
    "given", [[1, 4], (1, 4), range(1, 5, 3), np.array([1, 4]), [np.int64(1), np.uint8(4)], {1: "a", 4: "b"}.keys()]
)
def test_indices_may_be_as_python_has_them(given: Any) -> None:
    request = LIGConfig(layers=given, target_tokens=given, target_head=np.int32(2)).request("a text")
    assert (request.layers, request.target_tokens, request.target_head) == ([1, 4], [1, 4], 2)
    assert all(type(index) is int for index in request.layers or ())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1, 1], "an index is named twice"),
        (np.array([2, 2]), "an index is named twice"),
        ([-1], "greater than or equal to 0"),
        (range(-1, 2), "greater than or equal to 0"),
        ([True], "valid integer"),
        ([1.5], "valid integer"),
        (np.array([1.0]), "valid integer"),
        (
            np.array(
                [
                    [1],
                    [
                        2,
                    ],
                ]
            ),
            "valid integer",
        ),
        ([], "at least 1 item"),
        (np.array([], int), "at least 1 item"),
        (3, "valid list"),
        ("1,2", "valid list"),
        (b"12", "valid list"),
    ],
)
@pytest.mark.parametrize("name", ["layers", "target_tokens"])
def test_what_is_no_list_of_indices_is_refused_with_words(name: str, given: Any, said: str) -> None:
    for refused in (
        lambda: LIGConfig(**{name: given}).request("a text"),
        lambda: explain("a text", model="minilm", **{name: given}),
    ):
        with pytest.raises(InvalidRequest, match=said) as error:
            refused()
        assert error.value.errors[0].pointer.startswith(f"/{name}")
