"""Two results side by side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from lig_core.errors import NotComparable
from lig_core.result.arrays import LayerArrays, Result
from lig_core.result.diff import DiffResult, diff, write_diff
from lig_core.result.select import Selection, select
from tests.support.closeness import assert_close
from tests.support.made_results import made_head, made_layer


def shown(a: Result, b: Result, **more: Any) -> dict[str, Any]:
    found = b"".join(write_diff(a, b, **more))
    DiffResult.model_validate_json(found)
    return orjson.loads(found)


def finite(layer: LayerArrays) -> LayerArrays:
    layer["z2z"][1, 0] = 0.0
    return layer


def of(*layers: LayerArrays, **config: Any) -> Result:
    return Result.of(made_head(**config), layers)


A, B = (of(*(finite(made_layer(index, seed=seed)) for index in (0, 2))) for seed in (0, 1))


def test_a_result_does_not_differ_from_itself() -> None:
    found = shown(A, A)
    assert found["settings"] == {}
    for layer in found["layers"].values():
        assert set(layer) == {"z2z", "att", "mlp", "composed.product", "composed.conserving"}
        for part in layer.values():
            assert part["l2"] == part["relative_l2"] == 0
            assert_close(part["pearson"], 1, 1e-9)
            assert not np.any(part["difference"])


def test_the_figures_are_those_of_the_matrices() -> None:
    found = shown(A, B)["layers"]["2"]
    for name, part in found.items():
        a, b = (np.array(result.load(2)[name], float) for result in (A, B))
        difference = np.array(part["difference"], np.float32)
        assert difference.tolist() == (b - a).astype(np.float32).tolist()
        assert_close(part["l2"], np.linalg.norm(b - a), 1e-9)
        assert_close(part["relative_l2"], np.linalg.norm(b - a) / np.linalg.norm(a), 1e-9)
        assert_close(part["pearson"], np.corrcoef(a.ravel(), b.ravel())[0, 1], 1e-9, scale=1)


def test_the_largest_changes_are_listed_with_their_tokens() -> None:
    layer = made_layer()
    for name, place, expected in (
        ("z2z", (3, 1), {"source": 3, "source_token": "sat", "target": 1, "target_token": "cat"}),
        ("att", (2, 3, 4), {"head": 3, "source": 3, "source_token": "sat", "target": 4, "target_token": "[SEP]"}),
        ("mlp", (5, 0), {"dimension": 5, "target": 0, "target_token": "[CLS]"}),
    ):
        changed = layer[name].copy()
        changed[place] += 100
        other = replace(layer, arrays={**layer.arrays, name: changed})
        (change,) = shown(of(finite(layer)), of(finite(other)), top=1)["layers"]["0"][name]["top"]
        assert expected.items() <= change.items()
        assert_close(change["difference"], 100, 1e-6)
        assert np.float32(change["a"]) == layer[name][place]


def test_only_what_both_hold_is_compared() -> None:
    a = select(A, Selection(layers=[2], targets=[1, 3], heads=[0, 3], maps=["layer", "att"]))
    found = shown(a, B)["layers"]
    assert list(found) == ["2"]
    assert set(found["2"]) == {"z2z", "att"}
    assert found["2"]["att"]["heads"] == [0, 3]
    assert [[x is None for x in row] for row in found["2"]["z2z"]["difference"]] == [[True, False] * 2 + [True]] * 5
    b = B.load(2)["att"][2] - A.load(2)["att"][2]
    assert np.array(found["2"]["att"]["difference"])[1, :, 3].astype(np.float32).tolist() == b[:, 3].tolist()


def test_how_they_were_made_is_set_against_each_other() -> None:
    found = shown(of(made_layer(), baseline_layer="zero"), of(made_layer()))
    assert found["settings"] == {"baseline_layer": ["zero", "self_input_token"]}


def test_other_files_under_the_same_name_are_told() -> None:
    a, b = ({**A.head, "receipt": {"revision": None, "files": files}} for files in ("1" * 64, "2" * 64))
    found = shown(Result(a, A.indices, A.load), Result(b, A.indices, A.load))
    assert found["settings"] == {"files": ["1" * 64, "2" * 64]}


OTHER_TOKENS = Result({**A.head, "tokens": ["a", "b"]}, A.indices, A.load)
LAYER_MAPS, MLP_MAPS = (select(A, Selection(maps=[name])) for name in ("layer", "mlp"))


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (A, OTHER_TOKENS, "no token in common"),
        (A, of(made_layer(1)), "a holds 0, 2, b holds 1"),
        (LAYER_MAPS, MLP_MAPS, "a holds layer of targets 0 to 4, b holds mlp"),
        (select(A, Selection(targets=[1])), select(A, Selection(targets=[2])), "of targets 1, b .* of targets 2"),
        (A, select(A, Selection(top_k=1)), "without top_k"),
    ],
)
def test_what_has_nothing_in_common_is_refused_at_once(a: Result, b: Result, says: str) -> None:
    with pytest.raises(NotComparable, match=says):
        write_diff(a, b)


def test_of_texts_that_differ_the_same_tokens_are_compared_and_the_others_named() -> None:
    layer, kept = made_layer(), [0, 2, 3, 4]
    a = of(finite(layer))
    shorter = layer.take("source", kept).take("target", kept)
    arrays = {**finite(shorter).arrays, "targets": np.arange(4), "z2z": a.load(0)["z2z"][np.ix_(kept, kept)] + 1}
    b = Result.of({**a.head, "tokens": [a.head["tokens"][k] for k in kept]}, [replace(shorter, arrays=arrays)])
    found = shown(a, b)
    assert found["alignment"] == [[0, 0], [2, 1], [3, 2], [4, 3]]
    assert found["unaligned"] == {"a": [1], "b": []}
    difference = np.array(found["layers"]["0"]["z2z"]["difference"], float)
    assert np.isnan(difference[1]).all()
    assert np.isnan(difference[:, 1]).all()
    assert_close(difference[np.ix_(kept, kept)], np.ones((4, 4)), 1e-6)
    assert {change["source"] for change in found["layers"]["0"]["z2z"]["top"]} <= {*kept}
    assert shown(b, a)["unaligned"] == {"a": [], "b": [1]}


def test_direct_is_set_against_composed() -> None:
    result = of(finite(made_layer()))
    found = shown(result, result, composed="product")
    assert list(found["layers"]["0"]) == ["z2z"]
    layer = result.load(0)
    assert_close(np.array(found["layers"]["0"]["z2z"]["difference"]), layer["composed.product"] - layer["z2z"], 1e-5)
    assert found["settings"] == {"map": ["layer", "composed.product"]}


def test_the_matrices_can_be_left_out() -> None:
    assert "difference" not in shown(A, B, difference=False)["layers"]["0"]["z2z"]


def test_what_is_not_known_is_left_out_of_the_figures() -> None:
    a, b = finite(made_layer()), finite(made_layer(1))
    b["z2z"][:, 1] = np.nan
    found = shown(of(a), of(replace(b, index=0)))["layers"]["0"]["z2z"]
    rest = shown(*(select(of(replace(layer, index=0)), Selection.parse(targets="0,2,3,4")) for layer in (a, b)))
    figures = ("l2", "relative_l2", "pearson", "top")
    assert {name: found[name] for name in figures} == {name: rest["layers"]["0"]["z2z"][name] for name in figures}
    assert found["l2"] > 0
    assert [row[1] for row in found["difference"]] == [None] * len(found["difference"])


def test_of_a_map_of_which_nothing_is_known_there_are_no_figures() -> None:
    a, b = finite(made_layer()), finite(made_layer())
    b["z2z"][:] = np.nan
    found = shown(of(a), of(b))["layers"]["0"]["z2z"]
    assert found["l2"] is found["relative_l2"] is found["pearson"] is None
    assert found["top"] == []


def test_layers_are_compared_as_they_are_asked_for() -> None:
    asked: list[int] = []

    def load(index: int) -> LayerArrays:
        asked.append(index)
        return made_layer(index)

    _, layers = diff(Result(made_head(), range(5), load), Result(made_head(), range(5), made_layer))
    assert asked == [0]  # to see what is shared
    next(layers)
    next(layers)
    assert asked == [0, 0, 1]


def test_of_equal_changes_the_first_are_named_in_their_order() -> None:
    a, b = (finite(made_layer(sources=60)) for _ in range(2))
    shape = a["z2z"].shape
    a["z2z"][:], b["z2z"][:] = 0, np.random.default_rng(0).choice([-2, -1, 1, 2], size=shape)
    tokens = [f"token{number}" for number in range(60)]
    found = shown(*(Result.of({**made_head(), "tokens": tokens}, [layer]) for layer in (a, b)), top=200)
    places = np.argsort(-np.abs(b["z2z"]).ravel(), kind="stable")[:200]
    named = [(change["source"], change["target"]) for change in found["layers"]["0"]["z2z"]["top"]]
    assert named == [tuple(map(int, np.unravel_index(place, shape))) for place in places]
