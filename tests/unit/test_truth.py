"""The reference that certificates are judged by, on integrands whose integrals are known; and the judgement."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks import judgement
from benchmarks.judgement import WRONG, Column, Found, Row, error_of
from benchmarks.population import tiny, tiny_text
from benchmarks.reference import AGREEMENT, NODES, Reference, gauss_lobatto
from benchmarks.truth import explained
from benchmarks.truth_report import row
from lig_core.engines.chunking import Budget, ChunkedIntegrand
from lig_core.quadrature.integrand import Start
from tests.support.closeness import assert_close


class Opposed(ChunkedIntegrand):
    """Columns a + f, a − f: two sources whose sum is the line 2a, whatever f is; L says nothing of f."""

    num_sources = 2
    dtype, device = torch.float64, torch.device("cpu")
    origin = torch.zeros(1, 1, dtype=torch.float64)

    def __init__(self, start: Start, *functions: tuple[str, float, float]) -> None:
        super().__init__(Budget())
        self.start, self.functions, self.num_columns = start, functions, len(functions)

    def bytes_per_pair(self) -> int:
        return 1

    def value(self, a: Tensor) -> Tensor:
        """f of every column [nodes, columns]."""
        return torch.stack([_shape(name, size, place, a)[0] for name, size, place in self.functions], -1)

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        return (2 * a[:, None]).expand(-1, len(columns))

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, None]:
        slopes = torch.stack([_shape(name, size, place, a)[1] for name, size, place in self.functions], -1)[:, columns]
        rates = torch.stack([1 + slopes, 1 - slopes], -1)
        return self._lengths(a, columns), rates, None


def _shape(name: str, size: float, place: float, a: Tensor) -> tuple[Tensor, Tensor]:
    """f and f′: a norm's layer of width `place` at 0, a switch of width 0.01 or a kink or a jump of f′ at `place`."""
    if name == "layer":
        return size * a / (a**2 + place**2).sqrt(), size * place**2 / (a**2 + place**2) ** 1.5
    if name == "switch":
        x = (a - place) / 0.01
        return size * x.tanh(), size / 0.01 / x.cosh() ** 2
    return size * (a - place).clamp_min(0), size * (a > place).to(a)


@pytest.mark.parametrize("start", ["shared", "measured"])
def test_the_reference_is_right_where_sums_say_nothing(start: Start) -> None:
    deep = 1e-10 if start == "shared" else 1e-4
    functions = [("layer", 0.02, 1e-3), ("layer", 5.0, deep), ("switch", 0.5, 0.365), ("kink", 2.0, 0.3137)]
    integrand = Opposed(start, *functions)
    found = Reference().integrate(integrand)
    ends = integrand.value(torch.tensor([0.0, 1.0], dtype=torch.float64)).diff(dim=0)[0]
    expected = torch.stack([1 + ends, 1 - ends], 1)
    error = (found.values - expected).abs().sum(1) / expected.abs().sum(1)
    assert error.max() < AGREEMENT / 10
    assert found.converged.all()


def test_lobatto_is_exact_for_polynomials() -> None:
    nodes, weights = gauss_lobatto(NODES)
    powers = torch.arange(2 * NODES - 2, dtype=torch.float64)
    assert_close((weights[:, None] * nodes[:, None] ** powers).sum(0), 1 / (powers + 1), 1e-14)


def test_a_column_is_judged_by_its_own_size() -> None:
    right = Row("layer", 0, None, torch.tensor([2.0, -1.0, 1.0]), 2.0, "fixed", True, None, None, None)
    assert error_of(replace(right, values=torch.tensor([2.0, -1.02, 1.02])), right, 4.0) == pytest.approx(0.01)
    nothing = replace(right, values=torch.zeros(3), status="zero_path")
    assert error_of(nothing, nothing, 4.0) == 0
    assert error_of(nothing, right, 4.0) == 1
    noise = replace(nothing, completeness_error=1e-12)
    assert error_of(replace(right, values=1e-13 * right.values), noise, 4.0) == 0
    assert error_of(replace(right, values=1e-12 * right.values), noise, 4.0) == math.inf
    hidden, small = replace(nothing, status="noise_limited"), replace(right, values=1e-3 * right.values)
    assert error_of(hidden, small, 4.0) == pytest.approx(1e-3)
    assert error_of(nothing, small, 4.0) == pytest.approx(1.0)  # it said that nothing moves, and much does


@pytest.fixture(scope="module")
def columns() -> list[Column]:
    drawn = random.Random(5)
    subject, found = tiny(drawn, "bert"), Found()
    return [c for _ in range(3) for c in explained("tiny", subject, tiny_text(drawn, 7), drawn, found)]


def test_the_same_seed_draws_the_same_columns(columns: list[Column]) -> None:
    drawn = random.Random(5)
    subject = tiny(drawn, "bert")
    again = list(explained("tiny", subject, tiny_text(drawn, 7), drawn, Found()))
    assert [(c.map, c.target, c.request) for c in again] == [
        (c.map, c.target, c.request) for c in columns[: len(again)]
    ]


def test_columns_of_an_ordinary_model_are_certified_and_right(columns: list[Column]) -> None:
    assert len(columns) > 20
    assert all(c.reference for c in columns)
    assert max(c.error for c in columns if c.certified) < WRONG


def test_a_false_certificate_is_counted(columns: list[Column], monkeypatch: pytest.MonkeyPatch) -> None:
    computed = judgement.rows

    def falsified(maps: object) -> list[Row]:
        """As computed, but in single precision 3 % too much."""
        return [
            replace(r, values=1.03 * r.values) if maps.quadrature.name == "adaptive_gauss_patterson" else r  # type: ignore[attr-defined]
            for r in computed(maps)  # type: ignore[arg-type]
        ]

    monkeypatch.setattr(judgement, "rows", falsified)
    drawn = random.Random(5)
    subject = tiny(drawn, "bert")
    false = list(explained("tiny", subject, tiny_text(drawn, 7), drawn, Found()))
    certified = Counter[str]()
    for status in row(false)["certified"].values():
        certified.update(status)
    moving = [c for c in false if c.certified and c.status != "zero_path"]
    assert certified["wrong"] == len(moving) > 0
    assert certified["doubtful"] == len(moving)
