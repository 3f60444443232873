"""Nodes, weights and gradings against what is known of them exactly."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.rules import gauss_legendre, gauss_patterson
from tests.support.captum_trapezoid import riemann_trapezoid
from tests.support.closeness import assert_close

ROUNDING = 1e-12
DEGREES = {3: 5, 7: 11, 15: 23, 31: 47}
"""Degree up to which the rule of each size is exact."""


def legendre_integral(nodes: Any, weights: Any, degree: int) -> float:
    """The rule's integral over (0, 1) of the Legendre polynomial P_degree(2x − 1), which is 0 for degree > 0."""
    values = np.polynomial.legendre.Legendre.basis(degree)(2 * np.asarray(nodes) - 1)
    return float(np.asarray(weights) @ values)


@pytest.mark.parametrize(("size", "degree"), DEGREES.items())
def test_a_patterson_rule_is_exact_up_to_its_degree(size: int, degree: int) -> None:
    (rule,) = gauss_patterson(size)
    assert len(rule.nodes) == len(rule.weights) == size
    for k in range(degree + 1):
        assert_close(legendre_integral(rule.nodes, rule.weights, k), float(k == 0), ROUNDING, scale=1)
        assert_close(rule.weights @ rule.nodes**k, 1 / (k + 1), ROUNDING, scale=1)


@pytest.mark.parametrize(("size", "degree"), DEGREES.items())
def test_a_patterson_rule_is_not_exact_one_even_degree_above(size: int, degree: int) -> None:
    (rule,) = gauss_patterson(size)
    assert abs(legendre_integral(rule.nodes, rule.weights, degree + 1)) > 1e-6


def test_each_patterson_rule_contains_the_nodes_of_the_one_before() -> None:
    rules = gauss_patterson(3, 7, 15, 31)
    for smaller, larger in itertools.pairwise(rules):
        old = np.setdiff1d(np.arange(len(larger.nodes)), larger.fresh)
        assert np.array_equal(larger.nodes[old], smaller.nodes)
        assert len(old) + len(larger.fresh) == len(larger.nodes)


def test_the_first_rule_of_a_chain_is_all_fresh() -> None:
    (rule,) = gauss_patterson(7)
    assert rule.fresh.tolist() == list(range(7))


@pytest.mark.parametrize("size", DEGREES)
def test_patterson_nodes_are_symmetric_inside_the_interval_with_positive_weights(size: int) -> None:
    (rule,) = gauss_patterson(size)
    assert (rule.nodes > 0).all()
    assert (rule.nodes < 1).all()
    assert (np.diff(rule.nodes) > 0).all()
    assert_close(rule.nodes + rule.nodes[::-1], [1.0] * size, ROUNDING)
    assert (rule.weights > 0).all()


@pytest.mark.parametrize("size", DEGREES)
def test_a_cumulative_row_integrates_polynomials_up_to_its_node(size: int) -> None:
    (rule,) = gauss_patterson(size)
    ends = [*rule.nodes.tolist(), 1.0]
    for degree in range(size):
        values = np.polynomial.legendre.Legendre.basis(degree)(2 * rule.nodes - 1)
        antiderivative = np.polynomial.legendre.Legendre.basis(degree, domain=[0, 1]).integ(lbnd=0)
        for row, end in zip(rule.cumulative, ends, strict=True):
            assert_close(row @ values, antiderivative(end), ROUNDING, scale=1)
    assert np.array_equal(rule.cumulative[-1], rule.weights)


@pytest.mark.parametrize("count", [2, 5, 32])
def test_the_trapezoid_has_captums_nodes_and_weights(count: int) -> None:
    nodes, weights = riemann_trapezoid(count)
    step_sizes = [1 / count] * count  # captum.attr._utils.approximation_methods, written out
    step_sizes[0] /= 2
    step_sizes[-1] /= 2
    assert_close(weights, step_sizes, ROUNDING)
    assert_close(nodes, np.linspace(0, 1, count), ROUNDING)
    assert_close(weights.sum(), (count - 1) / count, ROUNDING)


@pytest.mark.parametrize("count", [1, 2, 8, 33])
def test_a_gauss_legendre_rule_is_exact_up_to_degree_2n_less_1_and_no_further(count: int) -> None:
    nodes, weights = gauss_legendre(count)
    for degree in range(2 * count):
        assert_close(legendre_integral(nodes, weights, degree), float(degree == 0), ROUNDING, scale=1)
    assert abs(legendre_integral(nodes, weights, 2 * count)) > 1e-3 / count


def test_gauss_legendre_converges_as_fast_as_the_function_is_analytic() -> None:
    """1/(1 + c x) has its pole at −1/c: the error falls by ρ⁻² per node, ρ the Bernstein ellipse through the pole."""
    pole = -0.25
    exact = math.log((1 - pole) / -pole)
    errors = []
    for count in range(2, 9):
        nodes, weights = gauss_legendre(count)
        errors.append(abs(float(weights @ (1 / (nodes - pole))) - exact))
    seen = (errors[-1] / errors[0]) ** (1 / (len(errors) - 1))
    distance = 1 - 2 * pole  # of the pole from the middle of [−1, 1]
    rho = distance + math.sqrt(distance**2 - 1)
    assert_close(seen, rho**-2, 0.05)


@pytest.mark.parametrize("power", [0.5, 1.5, 2.5])
def test_gauss_legendre_converges_with_order_2p_plus_2_where_the_integrand_starts_like_x_to_the_p(power: float) -> None:
    errors = []
    for count in (16, 32):
        nodes, weights = gauss_legendre(count)
        errors.append(abs(float(weights @ nodes**power) - 1 / (power + 1)))
    assert_close(math.log2(errors[0] / errors[1]), 2 * power + 2, 0.05)


WIDTHS = st.floats(1e-7, 0.49) | st.just(1.0)


@given(left=WIDTHS, right=WIDTHS)
def test_a_grading_maps_the_ends_to_the_ends_and_keeps_order(left: float, right: float) -> None:
    t = np.linspace(0, 1, 101)
    a, slope = Grading(left, right)(t)
    assert_close(a[[0, -1]], [0.0, 1.0], ROUNDING)
    assert (a[1:-1] > 0).all()
    assert (a[1:-1] < 1).all()
    assert (slope > 0).all()
    assert (np.diff(a) >= 0).all()


@given(left=WIDTHS, right=WIDTHS, t=st.floats(0.01, 0.99))
def test_the_slope_of_a_grading_is_its_derivative(left: float, right: float, t: float) -> None:
    """Compared with a central difference; where a is near 1, 1 − a has lost digits that the slope still has."""
    grading, step = Grading(left, right), 1e-5
    points = np.array([t - step, t, t + step])
    a, slope = grading(points)
    difference = float(a[2] - a[0]) / (2 * step)
    assert_close(slope[1], difference, 1e-6, scale=max(difference, 1e-4))


def test_a_grading_on_the_right_mirrors_one_on_the_left() -> None:
    t = np.linspace(0, 1, 33)
    (left, left_slope), (right, right_slope) = Grading(left=1e-3)(t), Grading(right=1e-3)(1 - t)
    assert_close(left, 1 - right, ROUNDING)
    assert_close(left_slope, right_slope, ROUNDING)


@pytest.mark.parametrize("width", [1e-4, 1e-6])
def test_a_graded_path_gives_every_decade_beyond_the_layer_as_many_nodes(width: float) -> None:
    t = np.linspace(0, 1, 1001)
    for grading in (Grading(left=width), Grading(width, width)):
        a, _ = grading(t)
        ends = [10 * width * 10**k for k in range(10) if 10 * width * 10**k < 0.05]
        counts = [int(((a > low) & (a <= high)).sum()) for low, high in itertools.pairwise(ends)]
        assert counts
        assert max(counts) <= 1.1 * min(counts)


@pytest.mark.parametrize("left", [1.0, 0.5])
def test_a_layer_as_wide_as_the_path_is_not_graded(left: float) -> None:
    t = np.linspace(0, 1, 9)
    a, slope = Grading(left, 0.5)(t)
    assert_close(a, t, ROUNDING)
    assert_close(slope, np.ones_like(t), ROUNDING)
