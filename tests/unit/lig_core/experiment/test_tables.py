"""The tables of small cases worked by hand, by the authors' rules and by ours."""

import json

import numpy as np
import pytest

from lig_core.errors import InvalidRequest
from lig_core.experiment.measured import Measured
from lig_core.experiment.outputs.authors import summary_of
from lig_core.experiment.outputs.tables import SUMMARY, TOP, Consistency, Theirs, top_rows
from lig_core.experiment.pairs import PAIRS, Pair, chosen

ITB = Pair("self_input_token", "self_input_token", "att_itb_a0")


def test_there_are_24_pairs_by_the_authors_names():
    assert len({pair.key for pair in PAIRS}) == len({pair.name for pair in PAIRS}) == 24
    assert ITB.name == "LIG(ITB) | ATT(ITB)+MLP(ATTITBa=0)"
    assert ITB.key == "lig_itb_att_itb_mlp_attitba0"
    assert {pair.group for pair in chosen(["itb"])} == {"itb"} and len(chosen(["itb"])) == 8
    assert chosen([ITB.key]) == (ITB,)
    with pytest.raises(InvalidRequest, match="lig_x"):
        chosen(["lig_x"])


def their_files(folder, number, layer, composed):
    for part, key, values in (("layer", ITB.layer_key, layer), ("composed", ITB.composed_key, composed)):
        path = folder / part / key / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"tokens": ["x"] * len(values[0]), "z2z": values}))


def test_the_authors_tables_of_files_worked_by_hand(tmp_path):
    # One layer; 3 tokens in the layer's file against 2 in the composed: entries [i][j] of the first two are compared.
    their_files(tmp_path, 4, [[[3.0, 0.0, 9.0], [1.0, 0.0, 9.0], [9.0, 9.0, 9.0]]], [[[0.0, 5.0], [5.0, 5.0]]])
    # Column 0: distance √(3² + 4²) = 5, correlation −1. Column 1 is all 0 in the layer's file: skipped.
    their_files(tmp_path, 7, [[[2.0, 2.0], [2.0, 1.0]]], [[[2.0, 2.0], [2.0, 3.0]]])
    # Column 0: constant and equal: distance 0, correlation 1. Column 1: distance 2, correlation −1.
    (row,) = summary_of(tmp_path, split="dev")
    assert list(row) == list(SUMMARY)
    assert (row["pair_name"], row["n_pairs"], row["n_samples"]) == (ITB.name, 3, 2)
    assert (row["sample_start"], row["sample_end"], row["split"]) == (4, 8, "dev")
    assert row["l2_mean"] == pytest.approx((5 + 0 + 2) / 3)
    assert row["l2_std"] == pytest.approx(np.std([5, 0, 2]))
    assert row["corr_mean"] == pytest.approx((-1 + 1 - 1) / 3)
    assert row["corr_std"] == pytest.approx(np.std([-1, 1, -1]))
    (top,) = top_rows([row])
    assert list(top) == list(TOP) and top["rank_in_group"] == 1


def test_a_correlation_that_is_not_defined_counts_nothing_where_columns_differ():
    table = Theirs([ITB])
    table.add(*(np.array([[[x]]]) for x in (3.0, np.nan, False, False)))
    assert table.summary(split="", start=0, end=1)[0]["corr_mean"] == 0


def test_the_top_table_has_the_three_smallest_of_each_group():
    table = Theirs(PAIRS)
    distance = np.arange(24.0)[::-1].reshape(1, 1, 24)
    table.add(distance, distance, distance > 99, distance > 99)
    rows = top_rows(table.summary(split="", start=0, end=1))
    assert [row["layer_ig_baseline_group"] for row in rows] == ["itb"] * 3 + ["itb_zero_ratio"] * 3 + ["zero"] * 3
    assert [row["rank_in_group"] for row in rows] == [1, 2, 3] * 3
    assert [row["l2_mean"] for row in rows] == [8, 9, 10, 0, 1, 2, 16, 17, 18]


def measured(number, distance, *, converged=None, still=None, relations=None, heads=None):
    """One pair, one layer; norms of 2."""
    values = np.array(distance, float)[None, :, None]
    count = values.shape[1]
    flags = [
        np.array([fallback] * count if given is None else given)[None, :, None]
        for given, fallback in ((converged, True), (still, False))
    ]
    about = {
        "tokens": ["x"] * count,
        "relations": relations or [None] * count,
        "head_distances": heads or [None] * count,
    }
    return Measured(number, about, values, np.full_like(values, 2), values * 0 + 0.5, *flags, values > 99)


def test_our_table_weighs_sentences_and_leaves_out_what_has_not_converged():
    table = Consistency([ITB], [3])
    table.add(
        measured(0, [2, 4, 90], converged=[True, True, False], relations=["nsubj", "det", "det"], heads=[1, 9, 12])
    )
    table.add(measured(1, [8, 77], still=[False, True], relations=["nsubj", None]))
    rows = {(row["group"], row["value"]): row for row in table.rows()}
    whole = rows["all", ""]
    assert whole["normalised_distance"] == pytest.approx(((1 + 2) / 2 + 4) / 2)
    assert whole["distance"] == pytest.approx((3 + 8) / 2)
    assert (whole["columns"], whole["unconverged"], whole["still"], whole["sentences"]) == (3, 1, 1, 2)
    assert rows["layer", 3]["distance"] == whole["distance"]
    assert rows["relation", "nsubj"]["distance"] == pytest.approx((2 + 8) / 2)
    assert rows["relation", "det"]["distance"] == 4
    assert rows["head_distance", 8]["distance"] == 4 and rows["head_distance", 8]["unconverged"] == 1
    assert whole["distance_low"] >= 3 and whole["distance_high"] <= 8
    assert whole["behind"] == 0


def test_intervals_are_as_wide_as_means_vary():
    random = np.random.default_rng(3)
    table = Consistency([ITB], [0])
    for number, value in enumerate(random.normal(10, 2, size=400)):
        table.add(measured(number, [value]))
    row = table.rows()[0]
    assert row["distance_high"] - row["distance_low"] == pytest.approx(2 * 1.96 * 2 / 20, rel=0.15)
    assert row["distance_low"] < row["distance"] < row["distance_high"]
