"""Slices: the same numbers as in the whole, null for the rest, and a refusal that says what there is."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

from lig_core.errors import InvalidRequest
from lig_core.result.arrays import Result
from lig_core.result.formats import FORMATS
from lig_core.result.select import Selection, select
from lig_core.result_schema import ExplainResult
from tests.support.made_results import made_head, made_layer, made_result


def shown(result: Result) -> dict[str, Any]:
    return orjson.loads(b"".join(FORMATS["json"].write(result.head, result)))


WHOLE = made_result(labels=True)


def test_nothing_asked_is_everything() -> None:
    assert shown(select(WHOLE, Selection())) == shown(WHOLE)


def test_layers_are_kept_in_the_result_s_order() -> None:
    found = shown(select(made_result(indices=(3, 0, 2)), Selection(layers=[2, 3])))
    assert list(found["layers"]) == ["3", "2"]


def test_targets_keep_their_columns_and_the_rest_is_null() -> None:
    found, whole = shown(select(WHOLE, Selection(targets=[4, 1]))), shown(WHOLE)
    for index, layer in found["layers"].items():
        full = whole["layers"][index]
        for kind in (None, "product", "conserving"):
            part, all_of_it = (d["z2z"] if kind is None else d["composed"][kind] for d in (layer, full))
            for row, full_row in zip(part["matrix"], all_of_it["matrix"], strict=True):
                assert row == [None, full_row[1], None, None, full_row[4]]
            assert [column["target_token_idx"] for column in part["token_to_token"]] == [1, 4]
        total = full["z2z"]["certificate"]["total"]
        assert layer["z2z"]["certificate"]["total"] == [None, total[1], None, None, total[4]]
        assert layer["targets"] == {token: full["targets"][token] for token in ("1", "4")}


def test_heads_are_those_of_att() -> None:
    found, whole = shown(select(WHOLE, Selection(heads=[3]))), shown(WHOLE)
    for index, layer in found["layers"].items():
        for token, target in layer["targets"].items():
            full = whole["layers"][index]["targets"][token]
            assert target["z2u"]["heads"] == {"3": full["z2u"]["heads"]["3"]}
            assert target["u2z"] == full["u2z"]
        assert layer["composed"] == whole["layers"][index]["composed"]


@pytest.mark.parametrize(
    ("maps", "keys", "parts"),
    [
        (["layer"], {"z2z"}, set()),
        (["composed"], {"composed"}, set()),
        (["att", "layer"], {"z2z", "targets"}, {"z2u"}),
        (["mlp"], {"targets"}, {"u2z"}),
    ],
)
def test_maps_are_those_asked_for(maps: Any, keys: set[str], parts: set[str]) -> None:
    for layer in shown(select(WHOLE, Selection(maps=maps)))["layers"].values():
        assert set(layer) - {"layer_idx", "replay_error"} == keys
        for target in layer.get("targets", {}).values():
            assert set(target) == {"target_token_idx", "target_token"} | parts


def test_the_largest_stand_in_place_of_all_with_the_same_digits() -> None:
    found, whole = shown(select(WHOLE, Selection(top_k=2))), shown(WHOLE)
    ExplainResult.model_validate({**found, "model_type": "x", "boundaries": {}})
    for index, layer in found["layers"].items():
        full = whole["layers"][index]
        matrix = np.array(full["z2z"]["matrix"], float)
        assert "matrix" not in layer["z2z"]
        assert layer["z2z"]["certificate"] == full["z2z"]["certificate"]
        assert layer["composed"]["product"]["l2_diagnostic"] == full["composed"]["product"]["l2_diagnostic"]
        top = layer["z2z"]["top"]
        assert [entry["target"] for entry in top] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
        for j in range(5):
            size = np.nan_to_num(np.abs(matrix[:, j]))
            best = np.argsort(-size)[:2]
            assert top[2 * j : 2 * j + 2] == [
                {"target": j, "source": i, "value": full["z2z"]["matrix"][i][j]} for i in best
            ]
        for token, target in layer["targets"].items():
            for name, head in target["z2u"]["heads"].items():
                values = full["targets"][token]["z2u"]["heads"][name]["contributions"]
                first = int(np.abs(values).argmax())
                assert head["top"][0] == {"target": int(token), "source": first, "value": values[first]}
                assert len(head["top"]) == 2
            values = full["targets"][token]["u2z"]["contributions"]
            first = int(np.abs(values).argmax())
            assert target["u2z"]["top"][0] == {"target": int(token), "dimension": first, "value": values[first]}


def test_more_than_there_is_is_all_of_it() -> None:
    (layer,) = select(made_result(indices=(0,)), Selection(top_k=1000))
    assert layer["z2z.top"].shape == (5, 5)
    assert np.isnan(layer["z2z.top"][-1, 0])  # NaN is never large


def test_of_equals_the_first_counts() -> None:
    layer = made_layer()
    layer["z2z"][:] = [[1], [-2], [2], [0], [2]]
    (found,) = select(Result.of({}, [layer]), Selection(maps=["layer"], top_k=3))
    assert found["z2z.top_index"].T.tolist() == [[1, 2, 4]] * 5


@pytest.mark.parametrize(
    ("asked", "pointer", "says"),
    [
        ({"layers": "1,7"}, "/query/layers", "does not hold layers 1, 7; it holds 0, 2"),
        ({"targets": "0,5"}, "/query/targets", "does not hold targets 5; it holds 0 to 4"),
        ({"heads": "2"}, "/query/heads", "does not hold heads 2; it holds 0 to 1, 3"),
        ({"maps": "layer,z2z"}, "/query/maps", "no map is called 'z2z'; name some of att, mlp, layer, composed"),
        ({"targets": "one"}, "/query/targets", "whole numbers"),
        ({"targets": "-1"}, "/query/targets", "whole numbers"),
        ({"targets": ""}, "/query/targets", "whole numbers"),
        ({"top_k": "0"}, "/query/top_k", "at least 1"),
        ({"top_k": "1,2"}, "/query/top_k", "one number"),
    ],
)
def test_what_is_not_there_is_refused_at_once(asked: dict[str, str], pointer: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        select(WHOLE, Selection.parse(**asked))
    (fault,) = refused.value.errors
    assert fault.pointer == pointer
    assert says in fault.detail


def test_a_map_that_was_not_computed_is_refused() -> None:
    part = select(WHOLE, Selection(maps=["layer", "mlp"]))
    with pytest.raises(InvalidRequest, match="does not hold maps composed; it holds mlp, layer"):
        select(part, Selection(maps=["composed"]))
    with pytest.raises(InvalidRequest, match="does not hold heads 0; it holds none"):
        select(part, Selection(heads=[0]))


def test_a_query_is_read() -> None:
    asked = Selection.parse(layers="2, 0", targets="1", heads="3", maps="layer,att", top_k="5")
    assert asked == Selection(layers=[2, 0], targets=[1], heads=[3], maps=["att", "layer"], top_k=5)
    assert Selection.parse() == Selection()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("seed", range(3))
def test_of_equal_contributions_the_first_are_kept_in_their_order(seed: int, dtype: str) -> None:
    layer, random = made_layer(sources=300, dtype=dtype), np.random.default_rng(seed)
    layer.arrays["z2z"] = random.choice([-2, -1, 0, 1, 2], size=layer["z2z"].shape).astype(dtype)
    (kept,) = select(Result.of({**made_head(), "tokens": list(map(str, range(300)))}, [layer]), Selection(top_k=200))
    for column, places in zip(layer["z2z"].T, kept["z2z.top_index"].T, strict=True):
        assert places.tolist() == sorted(range(300), key=lambda source: (-abs(column[source]), source))[:200]
