"""Self terms and compositions against three tokens worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lig_core.maps.compose import Composition, compare, compose, product
from lig_core.maps.integrated import HeadMap, LayerMap, MlpMap
from lig_core.maps.self_term import by_map_ratio, by_zero_ratio, map_ratio, split_self, zero_ratio
from lig_core.maps.tensors import LayerMaps, layer_arrays
from lig_core.quadrature import Attribution, GaussLegendre
from tests.support.closeness import assert_close

ROUNDING = 1e-12


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_zero_ratio_of_three_tokens() -> None:
    itb = rows([0.0, 2.0, 4.0], [3.0, 0.0, 1.0])  # targets 0 and 1
    zero = rows([5.0, 1.0, 1.0], [2.0, 2.0, 6.0])
    found = zero_ratio(itb, zero, torch.tensor([0, 1]))
    # target 0: s = 5 · (2+4)/(1+1) = 15, column [15, 2, 4] sums to 21, rescaled to 6
    # target 1: s = 2 · (3+1)/(2+6) = 1, column [3, 1, 1] sums to 5, rescaled to 4
    assert_close(found, rows([15 * 6 / 21, 2 * 6 / 21, 4 * 6 / 21], [12 / 5, 4 / 5, 4 / 5]), ROUNDING)


def test_the_map_ratio_of_three_tokens() -> None:
    itb = rows([0.0, 2.0, 4.0], [3.0, 0.0, 1.0])
    found = map_ratio(itb, rows([0.25, 0.5])[0], rows([0.75, 0.5])[0], torch.tensor([0, 1]))
    # target 0: s = 6 · (1/4)/(3/4) = 2, [2, 2, 4] sums to 8, rescaled to 6
    # target 1: s = 4 · (1/2)/(1/2) = 4, [3, 4, 1] sums to 8, rescaled to 4
    assert_close(found, rows([1.5, 1.5, 3.0], [1.5, 2.0, 0.5]), ROUNDING)


def test_the_map_ratio_gives_the_self_term_the_attention_weight_as_its_share() -> None:
    found = map_ratio(rows([1.0, 0.0, 2.0, -0.5]), rows([0.3])[0], rows([0.7])[0], torch.tensor([1]))
    assert_close(found[0, 1] / found[0].sum(), 0.3, ROUNDING)


def test_the_zero_ratio_gives_the_self_term_its_share_under_the_zero_baseline() -> None:
    zero = rows([1.0, 2.0, 3.0])
    found = zero_ratio(rows([0.0, 5.0, 1.0]), zero, torch.tensor([0]))
    assert_close(found[0, 0] / found[0].sum(), 1 / 6, ROUNDING)


def test_a_target_that_attends_to_itself_alone_gets_no_self_term_out_of_nothing() -> None:
    nothing = torch.zeros(1, 3, dtype=torch.float64)
    zero = rows([7.0, 0.0, 0.0])
    assert not zero_ratio(nothing, zero, torch.tensor([0])).any()
    assert not map_ratio(nothing, rows([1.0])[0], rows([0.0])[0], torch.tensor([0])).any()


def test_a_target_that_attends_to_next_to_nothing_else_keeps_all_to_itself() -> None:
    """Others are weighed, not what 1 leaves of them: of a column whose entries cancel nothing else would be left."""
    column = rows([0.0, 1.0, -0.999])
    for others in (1e-9, 1e-30, 0.0):
        found = map_ratio(column, rows([1.0])[0], rows([others])[0], torch.tensor([0]))
        assert_close(found, rows([0.001, others, -0.999 * others]), 1e-8)
        assert_close(found[0, 1:], column[0, 1:] * others / (1 + others), ROUNDING)


def test_splitting_off_the_self_term_loses_nothing() -> None:
    own, rest = split_self(rows([1.0, 2.0, 4.0], [3.0, 5.0, 9.0]), torch.tensor([2, 0]))
    assert own.tolist() == [4.0, 3.0]
    assert rest.tolist() == [3.0, 14.0]


POSITIVE = st.floats(0.01, 10)


@given(
    itb=st.lists(POSITIVE, min_size=4, max_size=4),
    zero=st.lists(POSITIVE, min_size=4, max_size=4),
    target=st.integers(0, 3),
    weight=st.floats(0, 0.99),
)
def test_ratio_corrections_keep_the_column_sum_and_the_proportions_of_the_others(
    itb: list[float], zero: list[float], target: int, weight: float
) -> None:
    itb[target] = 0.0
    column, index = rows(itb), torch.tensor([target])
    for found in (
        zero_ratio(column, rows(zero), index),
        map_ratio(column, rows([weight])[0], rows([1 - weight])[0], index),
    ):
        assert_close(found.sum(), column.sum(), ROUNDING)
        others = torch.arange(4) != target
        shares = found[0, others] / found[0, others].sum()
        assert_close(shares, column[0, others] / column.sum(), ROUNDING)


# two heads, targets 0 and 1, three sources
ATT = torch.tensor([[[1.0, 2.0, 1.0], [0.0, 3.0, 1.0]], [[2.0, 2.0, 4.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
MLP = torch.tensor([[0.5, 2.0], [4.0, 3.0]], dtype=torch.float64)


def test_the_product_composition_of_three_tokens() -> None:
    # target 0: 0.5·[1, 2, 1] + 2·[0, 3, 1]; target 1: 4·[2, 2, 4] + 3·[0, 0, 0]
    assert torch.equal(product(ATT, MLP), rows([0.5, 7.0, 2.5], [8.0, 8.0, 16.0]))


def attribution(values: Tensor, converged: list[bool]) -> Attribution:
    count = len(values)
    return Attribution(
        values=values,
        total=values.sum(-1),
        largest_total=values.sum(-1).max().expand(count),
        completeness_error=torch.zeros(count),
        entry_error=torch.zeros(count),
        nodes=torch.zeros(count, dtype=torch.long),
        converged=torch.tensor(converged),
        status=tuple("ok" if fine else "budget" for fine in converged),
    )


def composed(att: Tensor, mlp: Tensor, *, alone: Tensor | None = None, **certificate: Any) -> Composition:
    """Of heads [targets, heads, sources] that have converged, but for what `certificate` says of their columns."""
    columns = attribution(att.flatten(0, 1), [True] * (att.shape[0] * att.shape[1]))
    columns = replace(columns, status=tuple("ok" if column.any() else "zero_path" for column in columns.values))
    heads = HeadMap(tuple(range(att.shape[1])), replace(columns, **certificate), "")
    layer = LayerMap(attribution(rows(*[[1.0, 2.0, 4.0, 8.0][: att.shape[2]]] * len(att)), [True] * len(att)), "")
    of_mlp = MlpMap(attribution(mlp, [True] * len(mlp)), per_head=mlp)
    return compose(layer, heads, of_mlp, alone=alone, rtol=1e-3)


def test_the_conserving_composition_of_three_tokens() -> None:
    # target 0: 0.5·[1, 2, 1]/4 + 2·[0, 3, 1]/4; target 1: 4·[2, 2, 4]/8, and a head that did not move passes nothing on
    assert_close(composed(ATT, MLP).conserving, rows([0.125, 1.75, 0.625], [1.0, 1.0, 2.0]), ROUNDING)


def test_conserving_columns_sum_to_the_mlp_totals_of_the_heads_that_moved() -> None:
    assert_close(composed(ATT, MLP).conserving.sum(-1), [2.5, 4.0], ROUNDING)


@given(
    st.lists(st.floats(0.01, 5), min_size=24, max_size=24),
    st.lists(st.floats(-5, 5), min_size=6, max_size=6),
)
def test_conserving_columns_sum_to_the_mlp_totals(att: list[float], mlp: list[float]) -> None:
    heads = torch.tensor(mlp, dtype=torch.float64).reshape(2, 3)
    found = composed(torch.tensor(att, dtype=torch.float64).reshape(2, 3, 4), heads).conserving
    assert_close(found.sum(-1), heads.sum(-1), ROUNDING, scale=heads)


def test_identical_maps_have_distance_0_and_correlation_1() -> None:
    values = rows([1.0, 2.0, 4.0], [-1.0, 0.5, 0.0])
    found = compare(values, values)
    assert found.distance.tolist() == [0.0, 0.0]
    assert found.normalised.tolist() == [0.0, 0.0]
    assert_close(found.pearson, [1.0, 1.0], ROUNDING)


def test_the_comparison_of_two_columns_worked_out_by_hand() -> None:
    found = compare(rows([3.0, 0.0, 4.0]), rows([3.0, 2.0, 1.0]))
    # differences 0, −2, 3; deviations from the means 7/3 and 2: [2/3, −7/3, 5/3] and [1, 0, −1]
    assert_close(found.distance, [math.sqrt(13)], ROUNDING)
    assert_close(found.normalised, [math.sqrt(13) / 5], ROUNDING)
    assert_close(found.pearson, [(2 / 3 - 5 / 3) / (math.sqrt(78 / 9) * math.sqrt(2))], ROUNDING)


def test_the_comparison_with_nothing_is_undefined_but_its_distance() -> None:
    found = compare(torch.zeros(1, 3, dtype=torch.float64), rows([1.0, 2.0, 2.0]))
    assert_close(found.distance, [3.0], ROUNDING)
    assert math.isinf(float(found.normalised))
    assert math.isnan(float(found.pearson))


def test_a_composition_has_converged_where_every_map_in_it_has() -> None:
    layer = LayerMap(attribution(rows([1.0, 2.0, 1.0], [1.0, 0.0, 3.0]), [True, True]), "")
    att = HeadMap((0, 1), attribution(ATT.flatten(0, 1), [True, True, True, False]), "")
    mlp = MlpMap(attribution(MLP, [True, True]), per_head=MLP)
    found = compose(layer, att, mlp, alone=None, rtol=1e-3)
    assert found.converged.tolist() == [True, False]
    assert torch.equal(found.product, product(ATT, MLP))
    assert torch.equal(found.conserving, composed(ATT, MLP).conserving)
    assert torch.equal(found.product_comparison.distance, compare(layer.attribution.values, found.product).distance)


@pytest.mark.parametrize("missed", ["layer", "att", "mlp"])
def test_a_composition_has_not_converged_where_any_one_map_of_it_missed(missed: str) -> None:
    fine = {name: [True, name != missed] for name in ("layer", "att", "mlp")}
    layer = LayerMap(attribution(rows([1.0, 2.0, 1.0], [1.0, 0.0, 3.0]), fine["layer"]), "")
    att = HeadMap((0, 1), attribution(ATT.flatten(0, 1), [True, True, *fine["att"]]), "")
    mlp = MlpMap(attribution(MLP, fine["mlp"]), per_head=MLP)
    assert compose(layer, att, mlp, alone=None, rtol=1e-3).converged.tolist() == [True, False]


def test_a_head_whose_sum_is_not_known_passes_nothing_on_and_its_column_is_not_known_where_that_is_much() -> None:
    mlp = rows([1.0, 0.005], [1.0, -0.04])
    status = ("ok", "noise_limited", "ok", "zero_path")
    found = composed(ATT, mlp, status=status)
    assert_close(found.conserving, ATT[:, 0] / ATT[:, 0].sum(-1, keepdim=True), ROUNDING)
    assert found.known.tolist() == [True, False]  # half a hundredth, and four
    assert found.converged.all()
    assert composed(ATT, mlp, status=status, alone=torch.tensor([False, True])).known.all()


def test_a_column_that_is_not_known_is_nan_in_a_result_and_so_is_its_comparison() -> None:
    found = composed(ATT, rows([1.0, 0.005], [1.0, -0.04]), status=("ok", "noise_limited", "ok", "zero_path"))
    arrays = layer_arrays(0, LayerMaps(GaussLegendre(8), 0.0, composed=found), [0, 1], torch.float64).arrays
    for name in ("composed.conserving", "composed.conserving.distance", "composed.conserving.pearson"):
        assert not np.isnan(arrays[name][..., 0]).any()
        assert np.isnan(arrays[name][..., 1]).all()
    assert not np.isnan(arrays["composed.product"]).any()


@pytest.mark.parametrize("missed", [1e-9, 0.1])
def test_a_composition_has_converged_where_what_a_head_magnifies_has(missed: float) -> None:
    """Its entries cancel to a thousandth: so much larger are its shares, and what an error of the sum makes of them."""
    att = torch.stack([rows([500.5, -499.5, 0.0], [0.0, 1.0, 3.0])])
    found = composed(att, rows([1.0, 1.0]), total=rows([1.0 - missed, 4.0])[0])
    assert_close(found.conserving, rows([500.5, -499.25, 0.75]), ROUNDING)
    assert found.known.all()
    assert found.converged.tolist() == [missed < 0.01]


@pytest.mark.parametrize("off", [1e-7, 1e-3])
def test_what_a_head_magnifies_of_the_error_of_its_mlp_entry_counts(off: float) -> None:
    att = torch.stack([rows([500.5, -499.5, 0.0], [0.0, 1.0, 3.0])])
    columns, mlp = attribution(att.flatten(0, 1), [True, True]), rows([1e-3, 1.0])
    of_mlp = MlpMap(replace(attribution(mlp, [True]), entry_error=rows([off])[0]), per_head=mlp)
    layer = LayerMap(attribution(rows([1.0, 2.0, 1.0]), [True]), "")
    found = compose(layer, HeadMap((0, 1), columns, ""), of_mlp, alone=None, rtol=1e-5)
    # 999 · off · 0.001 beside 1.5: a head's error is its part of all
    assert found.converged.tolist() == [off < 1e-4]


def test_two_attributions_joined_take_the_worse_of_their_certificates() -> None:
    good, bad = attribution(rows([1.0, 2.0]), [True]), attribution(rows([3.0, 4.0]), [False])
    values, off = rows([2.0, 1.0]), rows([0.015])[0]
    for first, second, status in ((good, bad, "budget"), (bad, good, "budget"), (good, good, "ok")):
        joined = first.joined(second, values, off, most=0.01)
        assert joined.status == (status,)
        assert joined.converged.tolist() == [status == "ok"]
        assert torch.equal(joined.values, values)
    assert_close(good.joined(good, values, off, most=0.01).entry_error, rows([0.005])[0], ROUNDING)
    beyond = good.joined(good, values, off, most=0.001)
    assert beyond.status == ("budget",)
    assert not beyond.converged.any()


@pytest.mark.parametrize("seed", range(20))
def test_the_error_of_a_zero_ratio_tells_what_errors_of_both_columns_make_of_it(seed: int) -> None:
    """Columns whose entries cancel in part, each off by a known share of itself: told to within a factor of three."""
    drawn = torch.Generator().manual_seed(seed)
    exact, targets = torch.randn(2, 60, 5, generator=drawn, dtype=torch.float64), torch.arange(60) % 5
    exact[0].scatter_(1, targets[:, None], 0.0)
    found = exact * (1 + 1e-5 * torch.randn(exact.shape, generator=drawn, dtype=torch.float64))
    itb, zero = (
        replace(
            attribution(mine, [True] * 60),
            total=right.sum(-1),
            entry_error=(mine - right).abs().sum(-1) / mine.abs().sum(-1),
        )
        for mine, right in zip(found, exact, strict=True)
    )
    joined = by_zero_ratio(itb, zero, targets, rtol=1e-6)
    error = (joined.values - zero_ratio(*exact, targets)).abs().sum(-1)
    assert (error <= 3 * joined.entries_off).all()
    assert torch.equal(joined.converged, joined.entry_error <= 1e-5)
    assert joined.converged.any() and not joined.converged.all()


@pytest.mark.parametrize("seed", range(20))
def test_the_error_of_a_map_ratio_tells_what_errors_of_the_column_and_the_weight_make_of_it(seed: int) -> None:
    """Columns whose entries cancel in part, and weights that rounding of logits moved: told to within a factor of 3."""
    drawn = torch.Generator().manual_seed(seed)
    exact, targets = torch.randn(60, 5, generator=drawn, dtype=torch.float64), torch.arange(60) % 5
    exact.scatter_(1, targets[:, None], 0.0)
    found = exact * (1 + 1e-5 * torch.randn(exact.shape, generator=drawn, dtype=torch.float64))
    logits, moved = torch.randn(2, 60, generator=drawn, dtype=torch.float64) * rows([5.0], [1e-5])
    off = (found - exact).abs().sum(-1)
    itb = replace(attribution(found, [True] * 60), total=exact.sum(-1).abs(), entry_error=off / found.abs().sum(-1))
    itb = replace(itb, values=found * exact.sum(-1).sign()[:, None])
    own, others = (logits + moved).sigmoid(), (-logits - moved).sigmoid()
    corrected = by_map_ratio(itb, own, others, targets, rtol=1e-6, rounding=moved.abs())
    right = map_ratio(exact * exact.sum(-1).sign()[:, None], logits.sigmoid(), (-logits).sigmoid(), targets)
    error = (corrected.values - right).abs().sum(-1)
    assert (error <= 3 * corrected.entries_off).all()
    assert torch.equal(corrected.converged, corrected.entry_error <= 1e-5)
    assert corrected.converged.any() and not corrected.converged.all()


def test_of_a_map_ratio_whose_sources_cancel_nothing_but_rounding_is_left() -> None:
    """A target that attends to itself alone, and sources that add up to 2e-14: hidden beside the map's other column."""
    itb = rows([0.0, 2e-4, -2e-4 + 2e-14], [3.0, 0.0, 3.0])
    column = replace(attribution(itb, [True, True]), total=rows([0.0, 6.0])[0], entry_error=rows([1e-7, 1e-7])[0])
    own, others = rows([1.0, 0.5])[0], rows([0.0, 0.5])[0]
    found = by_map_ratio(column, own, others, torch.tensor([0, 1]), rtol=1e-3, rounding=torch.zeros(2))
    assert found.status == ("noise_limited", "ok")
    assert found.converged.all()
    assert float(found.entry_error[0]) == 1.0
    first = column.select(torch.tensor([True, False]))  # of the same map still
    one = by_map_ratio(first, own[:1], others[:1], torch.tensor([0]), rtol=1e-3, rounding=torch.zeros(1))
    assert one.status == ("noise_limited",)
    # The other column is another text's, of the same sequence.
    column = replace(column, largest_total=column.total)
    beside = by_map_ratio(column, own, others, torch.tensor([0, 1]), rtol=1e-3, rounding=torch.zeros(2))
    assert beside.status == ("budget", "ok")
    assert beside.converged.tolist() == [False, True]


def test_where_nothing_moves_a_map_ratio_has_nothing_to_be_wrong_about() -> None:
    """The total of such a column is rounding, like that of a first token, whose attention goes to a sink as well."""
    column = attribution(rows([0.0, 0.0], [3.0, 3.0]), [True, True])
    column = replace(column, total=rows([1e-16, 6.0])[0], status=("zero_path", "ok"))
    own, others = rows([0.5, 0.5]), torch.tensor([0, 1])
    found = by_map_ratio(column, own[0], own[0], others, rtol=1e-3, rounding=torch.zeros(2))
    assert found.status == ("zero_path", "ok")
    assert found.entry_error.tolist() == [0.0, 0.0]
    assert found.converged.all()
