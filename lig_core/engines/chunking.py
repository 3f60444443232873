"""Work on (node, column) pairs in chunks that fit a byte budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.errors import Cancelled, OutOfMemory
from lig_core.quadrature.integrand import Parts, Start, Sums

DEFAULT_BUDGET = 192 * 2**20
"""Bytes that the temporaries of one chunk may take; small enough for caches, large enough for full kernels."""


@dataclass
class Budget:
    """Bytes for one chunk's temporaries; halved, for good, when memory runs out.

    `should_stop` is asked before every chunk: work goes on until it says so.
    """

    size: int = DEFAULT_BUDGET
    should_stop: Callable[[], bool] | None = None

    def halve(self) -> None:
        """Half the budget; raises OutOfMemory below a megabyte."""
        self.size //= 2
        if self.size < 2**20:
            raise OutOfMemory("not even a chunk of one megabyte fits in memory; use a shorter text or a larger device")

    def check(self) -> None:
        """Raise Cancelled if the work is to stop."""
        if self.should_stop is not None and self.should_stop():
            raise Cancelled("stopped on request")


class ChunkedIntegrand(ABC):
    """An integrand whose rates are computed chunk by chunk and summed in float64.

    Chunks are independent, so the result does not depend on them beyond the rounding of sums.
    """

    num_columns: int
    num_sources: int
    start: Start
    dtype: torch.dtype
    witnessed = opaque = False
    device: torch.device

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    @abstractmethod
    def bytes_per_pair(self) -> int:
        """Temporaries of one (node, column) pair, in bytes."""

    @abstractmethod
    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        """L [nodes, columns]."""

    @abstractmethod
    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """L [nodes, columns], rates [nodes, columns, sources], and the witness's rates like them (None: no witness)."""

    def _shares(self, a: Tensor, columns: Tensor) -> Tensor:
        """The witness [nodes, columns, sources]."""
        raise NotImplementedError

    def _totals(self, columns: Tensor) -> Tensor:
        """L(1) [columns]; a witness is made here."""
        return self._lengths(torch.ones(1, dtype=torch.float64, device=self.device), columns)[0]

    def totals(self) -> Tensor:
        """L_j(1) [columns], float64."""
        result = torch.empty(self.num_columns, dtype=torch.float64)

        def step(_: slice, part: slice) -> None:
            result[part] = self._totals(torch.arange(self.num_columns, device=self.device)[part]).cpu().double()

        self._for_chunks(1, self.num_columns, step)
        return result

    def shares(self, a: Tensor, columns: Tensor) -> Tensor:
        """The witness q_ij(a) [nodes, columns, sources], float64."""
        result = torch.empty(len(a), len(columns), self.num_sources, dtype=torch.float64)

        def step(nodes: slice, part: slice) -> None:
            result[nodes, part] = self._shares(a[nodes].to(self.device), columns[part].to(self.device)).cpu().double()

        self._for_chunks(len(a), len(columns), step)
        return result

    def parts(self, columns: Tensor) -> Parts | None:
        """Nothing known."""
        return None

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        """L_j(a) [nodes, columns], float64."""
        return self._measured(self._lengths, a, columns)

    def _measured(self, function: Callable[[Tensor, Tensor], Tensor], a: Tensor, columns: Tensor) -> Tensor:
        """A function of nodes and columns, in chunks: [nodes, columns], float64."""
        result = torch.empty(len(a), len(columns), dtype=torch.float64)

        def step(nodes: slice, part: slice) -> None:
            result[nodes, part] = function(a[nodes].to(self.device), columns[part].to(self.device)).cpu().double()

        self._for_chunks(len(a), len(columns), step)
        return result

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        """Rates at nodes a for the given columns, summed with weights [rules, nodes]."""
        shape = (len(a), len(columns))
        lengths, slopes = (torch.empty(shape, dtype=torch.float64) for _ in range(2))
        weighted = torch.zeros(len(weights), len(columns), self.num_sources, dtype=torch.float64)
        witness = torch.zeros_like(weighted) if self.witnessed else None

        def step(nodes: slice, part: slice) -> None:
            length, rate, share_rate = self._rates(a[nodes].to(self.device), columns[part].to(self.device))
            lengths[nodes, part] = length.cpu().double()
            slopes[nodes, part] = rate.sum(-1).cpu().double()
            both = rate if share_rate is None else torch.cat([rate, share_rate], -1)
            sums = torch.tensordot(weights[:, nodes].to(rate), both, 1).cpu().double()
            weighted[:, part] += sums[..., : self.num_sources]
            if witness is not None:
                witness[:, part] += sums[..., self.num_sources :]

        self._for_chunks(len(a), len(columns), step)
        return Sums(lengths, slopes, weighted, witness)

    def _for_chunks(self, nodes: int, columns: int, step: Callable[[slice, slice], None]) -> None:
        """Call `step` on every chunk; when memory runs out, halve the budget and redo that chunk in pieces."""
        waiting = [(slice(0, nodes), slice(0, columns))]
        while waiting:
            chunk = waiting.pop()
            pieces = list(_cut(*chunk, max(1, self._budget.size // self.bytes_per_pair())))
            for k, piece in enumerate(pieces):
                self._budget.check()
                try:
                    step(*piece)
                except RuntimeError as error:
                    if not out_of_memory(error):
                        raise
                    self._budget.halve()
                    waiting += pieces[k:]
                    break


def out_of_memory(error: Exception) -> bool:
    """True if memory ran out, on a GPU (an exception of its own) or on the CPU (a sentence of the allocator's)."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def _cut(nodes: slice, columns: slice, pairs: int) -> Iterator[tuple[slice, slice]]:
    """Pieces of at most `pairs` pairs: all columns of several nodes, or parts of the columns of one."""
    width = columns.stop - columns.start
    if width <= pairs:
        several = pairs // max(width, 1)
        for low in range(nodes.start, nodes.stop, several):
            yield slice(low, min(low + several, nodes.stop)), columns
    else:
        for node in range(nodes.start, nodes.stop):
            for low in range(columns.start, columns.stop, pairs):
                yield slice(node, node + 1), slice(low, min(low + pairs, columns.stop))
