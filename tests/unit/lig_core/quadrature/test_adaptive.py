"""The quadratures on integrands whose integrals are known.

`Known` spreads a column over sources with given antiderivatives G_i, with Σ G_i ≥ 0, so that L = Σ G_i and the
contribution of source i is G_i(1), exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lig_core.quadrature import Adaptive, Attribution, GaussLegendre, Integrand, Quadrature, Sums
from lig_core.quadrature.integrand import Parts, Start
from lig_core.quadrature.planning import crossing
from tests.support.captum_trapezoid import RiemannTrapezoid
from tests.support.closeness import assert_close

ROUNDING = 1e-12
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Term:
    """What one source gives: G with G(0) = 0, and G'."""

    value: Function
    slope: Function

    @property
    def whole(self) -> float:
        return float(self.value(torch.ones((), dtype=torch.float64)))


def power(p: float, size: float = 1.0) -> Term:
    return Term(lambda a: size * a**p, lambda a: size * p * a ** (p - 1))


def left_layer(width: float, size: float = 1.0) -> Term:
    """What a norm does: a/√(a² + δ²), 1 at the end."""
    top = size * math.sqrt(1 + width**2)
    return Term(
        lambda a: top * a / (a**2 + width**2).sqrt(),
        lambda a: top * width**2 / (a**2 + width**2) ** 1.5,
    )


def right_layer(width: float, size: float = 1.0) -> Term:
    mirror = left_layer(width, size)
    return Term(lambda a: size - mirror.value(1 - a), lambda a: mirror.slope(1 - a))


def wave(size: float, periods: float = 1.0) -> Term:
    """Goes out and comes back: its contribution is 0."""
    w = 2 * math.pi * periods
    return Term(lambda a: size * (w * a).sin(), lambda a: size * w * (w * a).cos())


def kink(at: float, size: float = 1.0) -> Term:
    return Term(lambda a: size * (a - at).clamp_min(0), lambda a: size * (a > at).to(a))


def jump(at: float, size: float = 1.0) -> Term:
    """F jumps: L sees it, no gradient does."""
    return Term(lambda a: size * (a > at).to(a), torch.zeros_like)


class Known:
    """Columns of terms, one term per source."""

    def __init__(
        self,
        columns: Sequence[Sequence[Term]],
        start: Start = "measured",
        dtype: torch.dtype = torch.float64,
        *,
        witnessed: bool = False,
        opaque: bool = False,
        kinked: bool = False,
        routed: bool = False,
        widths: float | None = None,
        switches: float | None = None,
    ) -> None:
        """The terms are their own witness, where there is one; `widths` and `switches` are what is said of parts."""
        self.columns, self.start, self.dtype = columns, start, dtype
        self._widths, self._switches = widths, switches
        self.num_columns, self.num_sources = len(columns), len(columns[0])
        self.reference = torch.zeros(len(columns), dtype=torch.float64)
        self.witnessed, self.opaque, self.kinked, self.routed = witnessed, opaque, kinked, routed
        self.asked_at: list[float] = []

    @property
    def exact(self) -> Tensor:
        return torch.tensor([[term.whole for term in column] for column in self.columns], dtype=torch.float64)

    def _over_sources(self, kind: str, a: Tensor, columns: Tensor) -> Tensor:
        own = a if a.dim() == 2 else a[:, None].expand(-1, len(columns))
        rows = [
            torch.stack([getattr(term, kind)(own[:, k]) for term in self.columns[c]], -1)
            for k, c in enumerate(columns.tolist())
        ]
        return torch.stack(rows, 1)  # [nodes, columns, sources]

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        return self._over_sources("value", a, columns).sum(-1)

    def totals(self) -> Tensor:
        return self.lengths(torch.ones(1, dtype=torch.float64), torch.arange(self.num_columns))[0]

    def shares(self, a: Tensor, columns: Tensor) -> Tensor:
        return self._over_sources("value", a, columns)

    def growth(self) -> Tensor | None:
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return self.shares(ends, torch.arange(self.num_columns)).diff(dim=0)[0] if self.witnessed else None

    def parts(self, columns: Tensor) -> Parts | None:
        told = (None if x is None else torch.full((len(columns),), x) for x in (self._widths, self._switches))
        widths, switches = told
        return None if widths is None and switches is None else Parts(widths=widths, switches=switches)

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        self.asked_at += a.flatten().tolist()
        assert (a > 0).all()  # L has a kink there
        rates = self._over_sources("slope", a, columns)
        own = weights if weights.dim() == 3 else weights[..., None].expand(-1, -1, len(columns))
        weighted = torch.einsum("mkc,kci->mci", own, rates)
        return Sums(self.lengths(a, columns), rates.sum(-1), weighted, weighted.clone() if self.witnessed else None)


def error(found: Attribution, integrand: Known) -> Tensor:
    """Largest wrong entry of each column, relative to its total."""
    return (found.values - integrand.exact).abs().amax(1) / found.total


TOLERANCES = [1e-2, 1e-3, 1e-4, 1e-6]
WIDTHS = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7]


def spread(term: Term) -> list[Term]:
    """A layer among smoother company: another source falls as it rises, one has no part in it."""
    opposite = Term(lambda a: -0.3 * term.value(a), lambda a: -0.3 * term.slope(a))
    return [term, opposite, power(1.0, 0.2), power(2.0, 0.1)]


def layers(width: float) -> dict[str, list[Term]]:
    return {
        "left": spread(left_layer(width)),
        "right": spread(right_layer(width)),
        "both": [left_layer(width, 0.6), right_layer(width, 0.4), power(1.5, 0.3), power(1.0, -0.1)],
        "left narrow, right wide": [left_layer(width), right_layer(0.05, 0.5), power(1.0, 0.1), power(2.0, 0.1)],
    }


@pytest.mark.parametrize("rtol", TOLERANCES)
@pytest.mark.parametrize("where", ["left", "right", "both", "left narrow, right wide"])
def test_boundary_layers_of_any_width_are_integrated_to_the_tolerance(where: str, rtol: float) -> None:
    for width in WIDTHS:
        integrand = Known([layers(width)[where]])
        found = Adaptive(rtol, strictness=1).integrate(integrand)
        assert found.status == ("ok",), width
        assert float(error(found, integrand)) <= rtol, width
        assert float(found.completeness_error) <= rtol


@pytest.mark.parametrize("start", ["shared", "grouped", "measured"])
@pytest.mark.parametrize("rtol", TOLERANCES)
def test_columns_with_layers_of_different_widths_each_meet_the_tolerance(rtol: float, start: Any) -> None:
    integrand = Known([spread(left_layer(width)) for width in WIDTHS] + [spread(power(1.0))], start)
    found = Adaptive(rtol, strictness=1).integrate(integrand)
    assert found.status == ("ok",) * integrand.num_columns
    assert (error(found, integrand) <= rtol).all()


@pytest.mark.parametrize("start", ["shared", "grouped", "measured"])
@pytest.mark.parametrize("rtol", TOLERANCES)
def test_kinks_are_integrated_to_the_tolerance(rtol: float, start: Any) -> None:
    kinks = (0.013, 0.21, 0.5, 0.77, 0.991)
    integrand = Known([[kink(at), power(1.0), power(2.0, 0.3)] for at in kinks], start)
    found = Adaptive(rtol, strictness=1).integrate(integrand)
    assert found.status == ("ok",) * len(kinks)
    assert (error(found, integrand) <= rtol).all()


@pytest.mark.parametrize("rtol", TOLERANCES)
def test_waves_are_integrated_to_the_tolerance(rtol: float) -> None:
    integrand = Known([[wave(0.1 / periods, periods), power(1.0), wave(-0.01, 3)] for periods in (1, 2, 5, 11)])
    found = Adaptive(rtol, strictness=1).integrate(integrand)
    assert found.status == ("ok",) * 4
    assert (error(found, integrand) <= rtol).all()


@pytest.mark.parametrize("start", ["shared", "grouped", "measured"])
def test_the_looser_inner_check_still_gives_completeness(start: Any) -> None:
    integrand = Known([spread(left_layer(width)) for width in WIDTHS], start)
    found = Adaptive(1e-3).integrate(integrand)
    assert found.converged.all()
    assert (found.completeness_error <= 1e-3).all()
    assert (error(found, integrand) <= 2e-3).all()


@pytest.mark.parametrize("at", [1e-3, 0.1, 1 / 3, 0.5, 0.7317, 0.99, 0.9999])
@pytest.mark.parametrize("start", ["shared", "grouped", "measured"])
def test_a_jump_is_reported_as_discontinuous_and_not_as_converged(at: float, start: Any) -> None:
    integrand = Known([[power(1.0), jump(at, 0.5)], [power(1.0), power(2.0)]], start)
    found = Adaptive(1e-3).integrate(integrand)
    assert found.status == ("discontinuous", "ok")
    assert found.converged.tolist() == [False, True]
    assert_close(found.completeness_error[0], 0.5 / 1.5, 1e-3)  # never hidden, never rescaled
    assert_close(found.values[0], [1.0, 0.0], 1e-3)


def test_a_path_on_which_nothing_moves_gives_0_and_says_so() -> None:
    still = Term(torch.zeros_like, torch.zeros_like)
    for start in ("shared", "grouped", "measured"):
        found = Adaptive().integrate(Known([[still, still], [power(1.0), power(2.0)]], start))
        assert found.status == ("zero_path", "ok")
        assert found.converged.all()
        assert not found.values[0].any()
        assert float(found.completeness_error[0]) == 0


@pytest.mark.parametrize("start", ["shared", "grouped", "measured"])
@pytest.mark.parametrize("rule", [Adaptive(), GaussLegendre(8)], ids=lambda rule: rule.name)
def test_a_column_that_moves_by_rounding_alone_is_a_zero_path_unless_its_sources_hide_each_other(
    rule: Quadrature, start: Start
) -> None:
    """float32 noise below what rounding in F allows; a gradient of no length, and a direction that is noise as one."""
    noise = Term(lambda a: 4e-7 * (a > 0).to(a), lambda a: torch.full_like(a, 1e-7))
    spurious = Term(noise.value, lambda a: torch.full_like(a, 1e-3))
    integrand = Known([[noise, noise], [spurious, spurious], [power(1.0), power(2.0)]], start, torch.float32)
    integrand.reference = torch.ones(3, dtype=torch.float64)
    found = rule.integrate(integrand)
    assert found.status[:2] == ("zero_path", "noise_limited")
    assert not found.values[:2].any()
    assert found.converged.tolist() == [True, True, True]  # beside a column as large as the third
    integrand.columns[1] = [Term(noise.value, torch.ones_like)] * 2
    assert rule.integrate(integrand).converged.tolist() == [True, False, True]  # what was set to 0 is no less than that
    integrand.columns[1:] = [[spurious, spurious], integrand.columns[0]]
    assert rule.integrate(integrand).converged.tolist() == [True, False, True]


def noisy(amplitude: float) -> Term:
    """a, with a disturbance of L that no gradient sees and that no two nodes share."""
    return Term(lambda a: a + amplitude * (1e6 * a + 0.4).sin() * (a < 1).to(a), torch.ones_like)


def test_noise_below_the_rounding_floor_is_noise_limited_and_not_converged() -> None:
    floor = 16 * torch.finfo(torch.float32).eps
    integrand = Known([[noisy(0.3 * floor)]], dtype=torch.float32)
    found = Adaptive(rtol=0.02 * floor).integrate(integrand)
    assert found.status == ("noise_limited",)
    assert not found.converged.any()
    assert int(found.nodes) <= 31  # no work is wasted on it


@pytest.mark.parametrize("beside", [1.0, 40.0, 60.0, 1e4])
def test_noise_below_the_rounding_floor_has_converged_where_the_map_has_larger_columns(beside: float) -> None:
    floor = 16 * torch.finfo(torch.float32).eps
    rtol = floor / 50  # of 50 and more, what rounding can make of a column of 1 is less than rtol
    integrand = Known([[noisy(0.3 * floor)], [power(1.0, beside)]], dtype=torch.float32)
    found = Adaptive(rtol).integrate(integrand)
    assert found.status == ("noise_limited", "ok")
    assert found.converged.tolist() == [beside >= 50, True]
    fixed = GaussLegendre(8, rtol).integrate(Known([[jump(0.999, 0.3 * floor)], [power(1.0, beside)]]))
    assert fixed.converged.tolist() == [False, True]  # what float64 makes is far less than that


@pytest.mark.parametrize("beside", [1.0, 40.0, 60.0, 1e4])
def test_a_fixed_rule_is_judged_alike(beside: float) -> None:
    floor = 16 * torch.finfo(torch.float32).eps
    hidden = Term(lambda a: a + 0.3 * floor * (a >= 1).to(a), torch.ones_like)
    integrand = Known([[hidden], [power(1.0, beside)]], dtype=torch.float32)
    found = GaussLegendre(8, rtol=floor / 50).integrate(integrand)
    assert found.converged.tolist() == [beside >= 50, True]


def test_noise_above_the_rounding_floor_is_never_called_converged() -> None:
    found = Adaptive(rtol=1e-6).integrate(Known([[noisy(1e-3)]]))
    assert not found.converged.any()
    assert found.status[0] in ("budget", "discontinuous")
    assert_close(found.values, [[1.0]], 1e-3)  # the best value all the same


def test_a_budget_that_runs_out_is_flagged() -> None:
    integrand = Known([[left_layer(1e-5), wave(0.3, 40)]])
    found = Adaptive(rtol=1e-6, max_nodes=20).integrate(integrand)
    assert found.status == ("budget",)
    assert not found.converged.any()
    assert float(error(found, integrand)) > 1e-6


@pytest.mark.parametrize("rtol", TOLERANCES)
def test_what_is_called_converged_meets_the_tolerance_whatever_the_budget(rtol: float) -> None:
    problems = [column for width in WIDTHS for column in layers(width).values()]
    problems += [
        [kink(0.3), power(1.0), wave(0.2, 7), jump(0.6, 0.0)],
        [jump(0.2, 1e-2), power(1.0), power(2.0), wave(0.1, 1)],
    ]
    for budget in (7, 15, 31, 60, 120):
        integrand = Known(problems)
        found = Adaptive(rtol, strictness=1, max_nodes=budget).integrate(integrand)
        assert (found.completeness_error[found.converged] <= rtol).all()
        assert (error(found, integrand)[found.converged] <= rtol).all()
        assert all((s == "ok") == bool(c) for s, c in zip(found.status, found.converged, strict=True))


def test_a_total_that_cancels_is_measured_against_the_largest_length_met() -> None:
    """The path goes far out and comes back almost to where it began."""
    out_and_back = Term(lambda a: 4 * a * (1 - a) + 1e-6 * a, lambda a: 4 - 8 * a + 1e-6)
    found = Adaptive(1e-3).integrate(Known([[out_and_back]]))
    assert found.status == ("ok",)
    assert_close(found.values, [[1e-6]], 1e-3, scale=1e-3)  # a thousandth of the largest L


def test_smooth_columns_cost_seven_nodes() -> None:
    found = Adaptive(1e-3).integrate(Known([[power(1.0), power(2.0)], [power(3.0), wave(0.02)]]))
    assert found.nodes.tolist() == [7, 7]


def test_only_columns_that_fail_are_refined() -> None:
    integrand = Known([[power(1.0)], [left_layer(1e-4)]])
    alone = Adaptive(1e-4).integrate(Known([[left_layer(1e-4)]]))
    found = Adaptive(1e-4).integrate(integrand)
    assert int(found.nodes[0]) == 7
    assert int(found.nodes[1]) == int(alone.nodes[0]) > 7


def test_no_node_is_ever_at_an_end_of_the_path() -> None:
    integrand = Known([column for width in WIDTHS for column in layers(width).values()])
    Adaptive(1e-6).integrate(integrand)
    assert min(integrand.asked_at) > 0
    assert max(integrand.asked_at) < 1


@pytest.mark.parametrize("rule", [Adaptive(1e-4), GaussLegendre(16), RiemannTrapezoid(33)], ids=lambda r: r.name)
def test_columns_do_not_depend_on_their_company(rule: Quadrature) -> None:
    columns = [spread(left_layer(0.3)), spread(power(1.5)), [kink(0.4), power(1.0), wave(0.1), power(2.0)]]
    together = rule.integrate(Known(columns))
    for k, column in enumerate(columns):
        alone = rule.integrate(Known([column]))
        assert_close(together.values[k], alone.values[0], 1e-5 if isinstance(rule, Adaptive) else ROUNDING)


def test_a_fixed_rule_reports_its_honest_error() -> None:
    integrand = Known([[left_layer(1e-3)], [power(3.0)], [Term(torch.zeros_like, torch.zeros_like)]])
    found = GaussLegendre(8, rtol=1e-3).integrate(integrand)
    honest = (found.values.sum(1) - found.total).abs() / found.total.clamp_min(1e-300)
    assert_close(found.completeness_error, honest, ROUNDING)
    assert float(honest[0]) > 0.1
    assert found.converged.tolist() == [False, True, True]
    assert found.status == ("fixed", "fixed", "zero_path")
    assert found.nodes.tolist() == [8, 8, 8]


def test_the_trapezoid_loses_half_a_step_at_each_end_as_captum_does() -> None:
    """Weights (1/n, halved at the ends), the node at a = 0 without gradient: of ∫1 da it finds (n − 1 − 1/2)/n."""
    found = RiemannTrapezoid(32).integrate(Known([[power(1.0)]]))
    assert_close(found.values, [[(32 - 1.5) / 32]], ROUNDING)
    assert not found.converged.any()


class Linear:
    """F linear: F_j(z) = Σ_i W_ji z_i, L_j = ‖F_j(z(a)) − F_j(z⁰)‖. The contribution is the projection on F_j's own
    direction: W_ji (z_i − z⁰_i) · (F_j(z) − F_j(z⁰))/L_j, whatever the rule."""

    start: Start = "measured"
    dtype = torch.float64
    witnessed = opaque = kinked = routed = False

    def __init__(self, sources: int = 5, targets: int = 4, dims: int = 3) -> None:
        generator = torch.Generator().manual_seed(1)
        self.moves = torch.randn(targets, sources, dims, generator=generator, dtype=torch.float64)  # W_ji (z_i − z⁰_i)
        self.num_columns, self.num_sources = targets, sources
        self.reference = torch.zeros(targets, dtype=torch.float64)

    @property
    def exact(self) -> Tensor:
        moved = self.moves.sum(1)
        return torch.einsum("jid,jd->ji", self.moves, moved / moved.norm(dim=-1, keepdim=True))

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        return a[:, None] * self.moves[columns].sum(1).norm(dim=-1)

    def totals(self) -> Tensor:
        return self.lengths(torch.ones(1, dtype=torch.float64), torch.arange(self.num_columns))[0]

    def shares(self, a: float, columns: Tensor) -> Tensor:
        raise NotImplementedError

    def growth(self) -> None:
        return None

    def parts(self, columns: Tensor) -> None:
        return None

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        rates = self.exact[columns].expand(len(a), -1, -1)
        return Sums(self.lengths(a, columns), rates.sum(-1), torch.einsum("mk,kci->mci", weights, rates))


@pytest.mark.parametrize("rule", [Adaptive(), GaussLegendre(1), GaussLegendre(5)], ids=lambda r: r.name)
def test_of_a_linear_map_every_rule_gives_the_exact_answer(rule: Quadrature) -> None:
    integrand: Integrand = Linear()
    found = rule.integrate(integrand)
    assert_close(found.values, Linear().exact, ROUNDING)
    assert (found.completeness_error <= ROUNDING).all()


def test_a_crossing_is_interpolated_on_logarithms() -> None:
    grid = np.array([1e-4, 1e-2, 1.0])
    lengths = grid[:, None] ** np.array([1.0, 0.5, 0.0])  # the last is 1 throughout
    widths, at_once = crossing(grid, lengths, np.full(3, 0.2))
    assert_close(widths, [0.2, 0.04, 1e-4], ROUNDING)
    assert at_once.tolist() == [False, False, True]
    never, _ = crossing(grid, lengths[:, :1], np.full(1, 2.0))
    assert never.tolist() == [1.0]
