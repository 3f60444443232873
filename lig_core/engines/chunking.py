"""Work on (node, column) pairs in chunks that fit a byte budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from lig_core.engines.gathering import Gathered, on_device, on_host
from lig_core.errors import Cancelled, OutOfMemory
from lig_core.quadrature.integrand import Array, Parts, Start, Sums

OF_LOGITS = 64.0
"""Where attention is saturated, rounding of logits moved columns by 10 ε times their range; sevenfold for safety."""
DEFAULT_BUDGET = 192 * 2**20
"""Bytes that the temporaries of one chunk may take, large enough for full kernels."""
CACHED = 64 * 2**20
"""Of them on the CPU, where smaller chunks stay in its caches: at 128 tokens a layer takes 0.7 to 1.0 of the time."""


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
    witnessed = opaque = kinked = routed = False
    over_tokens = True
    device: torch.device
    engine: str  # its name in results

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    @abstractmethod
    def bytes_per_pair(self) -> int:
        """Temporaries of one (node, column) pair, in bytes."""

    @abstractmethod
    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        """L [nodes, columns]; nodes and columns are on the host, what is made of them on the device."""

    @abstractmethod
    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """L [nodes, columns], rates [nodes, columns, sources], and the witness's rates like them (None: no witness)."""

    def _gathered(self, *shape: int) -> Gathered:
        """Room for what chunks compute."""
        return Gathered(shape, self.device)

    def _placed(self, *small: Tensor) -> list[Tensor]:
        """Nodes or columns, on the device."""
        return on_device(self.device, *small)

    def _shares(self, a: Tensor, columns: Tensor) -> Tensor:
        """The witness [nodes, columns, sources]."""
        raise NotImplementedError

    def _rows(self, columns: Tensor, *of: Tensor, dim: int = 0) -> list[Tensor]:
        """Some columns of what lies on the device, where they are on the host; without a call where it is all."""
        if is_whole(columns, self.num_columns):
            return list(of)
        (columns,) = self._placed(columns)
        return [x.index_select(dim, columns) for x in of]

    def totals(self) -> Tensor:
        """L_j(1) [columns], float64."""
        return self.lengths(torch.ones(1, dtype=torch.float64), torch.arange(self.num_columns))[0]

    @property
    @abstractmethod
    def origin(self) -> Tensor:
        """F_j(z⁰) [columns, dimensions]."""

    @property
    def reference(self) -> Tensor:
        """‖F_j(z⁰)‖₂ [columns], float64."""
        return self._sizes[0]

    @cached_property
    def _sizes(self) -> Tensor:
        """‖F_j(z⁰)‖₂, and √d max_k |F_jk(z⁰)|, which it were if all were as large as the largest [2, columns]."""
        return sizes(self.origin)

    def rounding(self, total: Array, magnified: float) -> Array:
        """The most that rounding is known to make of rates, relative to them [columns].

            ε (magnified · √d max_k |F_jk(z⁰)| / L_j(1) + OF_LOGITS · range of the logits)

        The largest entry decides: in its last digits the difference is lost. `total`: L_j(1).
        """
        most: Array = magnified * self._lost(total) + OF_LOGITS * self._logit_range()
        return most * torch.finfo(self.dtype).eps

    def _lost(self, total: Array) -> Array:
        """The largest of what is subtracted over what is left [columns]."""
        return share_lost(self._sizes[1], total)

    def _logit_range(self) -> Array | float:
        """The range of the logits along paths that move them alone [columns]; 0 of others."""
        return 0.0

    def growth(self) -> Tensor | None:
        """None without a witness."""
        return None

    def shares(self, a: Tensor, columns: Tensor) -> Tensor:
        """The witness q_ij(a) [nodes, columns, sources], float64."""
        return self._measured(self._shares, a, columns, self.num_sources)

    def parts(self, columns: Tensor) -> Parts | None:
        """Nothing known."""
        return None

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        """L_j(a) [nodes, columns], float64."""
        return self._measured(self._lengths, a, columns)

    def _measured(
        self, function: Callable[[Tensor, Tensor], Tensor], a: Tensor, columns: Tensor, *shape: int
    ) -> Tensor:
        """A function of nodes and columns, in chunks: [nodes, columns, *shape], float64."""
        result = self._gathered(len(a), len(columns), *shape)

        def step(nodes: slice, part: slice) -> None:
            result.put((nodes, part), function(_nodes(a, nodes, part), _part(columns, part)))

        self._for_chunks(len(a), len(columns), step)
        return on_host(result)[0]

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        """Rates at nodes a for the given columns, summed with weights [rules, nodes]."""
        (weights,) = self._placed(weights)
        sources = self.num_sources
        lengths, slopes = (self._gathered(len(a), len(columns)) for _ in range(2))
        weighted = self._gathered(len(weights), len(columns), sources * (1 + self.witnessed))

        def step(nodes: slice, part: slice) -> None:
            length, rate, share_rate = self._rates(_nodes(a, nodes, part), _part(columns, part))
            lengths.put((nodes, part), length)
            slopes.put((nodes, part), rate.sum(-1))
            both = rate if share_rate is None else torch.cat([rate, share_rate], -1)
            factors = _part(weights.transpose(0, 1), nodes)  # [nodes, rules] or [nodes, rules, columns]
            factors = factors if a.dim() == 1 else _part(factors.movedim(-1, 0), part)  # [columns, nodes, rules]
            weighted.add((slice(None), part), _summed(factors.to(rate), both))

        self._for_chunks(len(a), len(columns), step)
        length, slope, sums = on_host(lengths, slopes, weighted)
        return Sums(length, slope, sums[..., :sources], sums[..., sources:] if self.witnessed else None)

    def _for_chunks(
        self, nodes: int, columns: int, step: Callable[[slice, slice], None], size: int | None = None
    ) -> None:
        """Call `step` on every chunk; when memory runs out, halve the budget and redo that chunk in pieces.

        A pair takes `size` bytes, `bytes_per_pair` where nothing is said.
        """
        size = self.bytes_per_pair() if size is None else size
        waiting = [(slice(0, nodes), slice(0, columns))]
        while waiting:
            chunk = waiting.pop()
            most = min(self._budget.size, CACHED) if self.device.type == "cpu" else self._budget.size
            pieces = list(_cut(*chunk, max(1, most // size)))
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


def sizes(x: Tensor) -> Tensor:
    """‖x‖₂ and √d ‖x‖_∞ of vectors [columns, d], on the host in float64 [2, columns]."""
    largest = torch.linalg.vector_norm(x, torch.inf, -1) * x.shape[-1] ** 0.5
    return torch.stack([torch.linalg.vector_norm(x, dim=-1), largest]).cpu().double()


def share_lost(largest: Tensor, left: Array) -> Array:
    """What is subtracted over what is left of it [columns]."""
    share: Array = largest.numpy() / np.maximum(left, torch.finfo(torch.float32).tiny)
    return share


def is_whole(columns: Tensor, count: int) -> bool:
    """Whether columns, on the host, are all of so many in their order."""
    return len(columns) == count and np.array_equal(columns.numpy(), np.arange(count))


def _part(x: Tensor, chosen: slice) -> Tensor:
    """Some of x; all of it without a call."""
    return x if chosen == slice(0, len(x)) else x[chosen]


def _nodes(a: Tensor, nodes: slice, columns: slice) -> Tensor:
    """Some nodes [nodes], or some columns' own [nodes, columns]."""
    here = _part(a, nodes)
    return here if a.dim() == 1 else _part(here.T, columns).T


def _summed(weights: Tensor, rates: Tensor) -> Tensor:
    """Σ_k w_k rate(a_k) [rules, columns, sources]: of rates [nodes, columns, sources] and weights [nodes, rules], or of
    each column's own [columns, nodes, rules]."""
    if weights.dim() == 2:
        return (weights.T @ rates.flatten(1)).unflatten(-1, rates.shape[1:])
    return (weights.transpose(1, 2) @ rates.transpose(0, 1)).transpose(0, 1)


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
