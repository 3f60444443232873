"""Chunks: what does not fit is cut, what runs out of memory is cut smaller, and the sums stay the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lig_core.blocks.precision import working_precision
from lig_core.engines.chunking import Budget, ChunkedIntegrand
from lig_core.errors import OutOfMemory
from lig_core.quadrature.integrand import Start
from tests.support.closeness import assert_close

NODES = torch.tensor([0.1, 0.4, 0.9], dtype=torch.float64)
COLUMNS = torch.arange(5)
WEIGHTS = torch.tensor([[0.2, 0.3, 0.5], [1.0, -1.0, 2.0]], dtype=torch.float64)
MEGABYTE = 2**20
ROUNDING = 1e-12


class Powers(ChunkedIntegrand):
    """L_j(a) = (j + 1)·a², in equal parts from three sources; more than `capacity` pairs run out of memory."""

    num_columns, num_sources = 5, 3
    start: Start = "measured"
    dtype, device = torch.float64, torch.device("cpu")
    origin = torch.zeros(5, 1)

    def __init__(self, budget: Budget, capacity: int = 10**9) -> None:
        super().__init__(budget)
        self.budget, self.capacity = budget, capacity
        self.sizes: list[int] = []

    def bytes_per_pair(self) -> int:
        return MEGABYTE

    def _check(self, a: Tensor, columns: Tensor) -> None:
        self.sizes.append(len(a) * len(columns))
        if self.sizes[-1] > self.capacity:
            raise torch.OutOfMemoryError

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        self._check(a, columns)
        return a[:, None] ** 2 * (columns + 1)

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        self._check(a, columns)
        slope = 2 * a[:, None] * (columns + 1)
        rates = (slope / 3)[..., None].expand(-1, -1, 3)
        return a[:, None] ** 2 * (columns + 1), rates, -rates if self.witnessed else None


class Witnessed(Powers):
    """The witness takes what the map gives."""

    witnessed = True


def check(integrand: Powers) -> None:
    lengths = NODES[:, None] ** 2 * (COLUMNS + 1)
    slopes = 2 * NODES[:, None] * (COLUMNS + 1)
    found = integrand.accumulate(NODES, COLUMNS, WEIGHTS)
    assert_close(found.lengths, lengths, ROUNDING)
    assert_close(found.slopes, slopes, ROUNDING)
    weighted = (WEIGHTS @ slopes / 3)[..., None].expand(-1, -1, 3)
    assert_close(found.weighted, weighted, ROUNDING)
    if found.witness is not None:
        assert_close(found.witness, -weighted, ROUNDING)
    assert_close(integrand.lengths(NODES, COLUMNS), lengths, ROUNDING)


@pytest.mark.parametrize("kind", [Powers, Witnessed])
@pytest.mark.parametrize("pairs", [1, 2, 3, 5, 7, 14, 15, 100])
def test_chunks_hold_at_most_what_the_budget_allows_and_sum_to_the_whole(pairs: int, kind: type[Powers]) -> None:
    integrand = kind(Budget(pairs * MEGABYTE))
    check(integrand)
    assert max(integrand.sizes) <= pairs
    assert sum(integrand.sizes) == 2 * 15


def test_a_budget_below_one_pair_still_computes_one_at_a_time() -> None:
    integrand = Powers(Budget(1))
    check(integrand)
    assert set(integrand.sizes) == {1}


@pytest.mark.parametrize("capacity", [1, 2, 4, 9])
def test_work_that_runs_out_of_memory_is_redone_in_smaller_chunks(capacity: int) -> None:
    integrand = Powers(Budget(16 * MEGABYTE), capacity)
    check(integrand)
    assert integrand.budget.size // MEGABYTE <= capacity  # for good: the next call does not try the large one again


def test_memory_that_does_not_suffice_for_the_smallest_chunk_is_an_error_of_its_own() -> None:
    with pytest.raises(OutOfMemory, match="shorter text"):
        Powers(Budget(16 * MEGABYTE), capacity=0).lengths(NODES, COLUMNS)


def test_working_precision_in_float64_widens_every_request_for_float32() -> None:
    x = torch.rand(3, 3, dtype=torch.float64)
    with working_precision(torch.float64):
        widened = (
            x.float(),
            x.to(torch.float32),
            x.to(dtype=torch.float32),
            torch.softmax(x, -1, dtype=torch.float32),
            torch.zeros(3, dtype=torch.float32),
        )
    assert {found.dtype for found in widened} == {torch.float64}
    assert x.float().dtype == torch.float32  # only inside


def test_working_precision_in_float32_changes_nothing() -> None:
    with working_precision(torch.float32):
        assert torch.zeros(1, dtype=torch.float64).float().dtype == torch.float32
