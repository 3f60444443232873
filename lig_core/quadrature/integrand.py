"""The integrand of a quadrature, and the attribution that it returns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lig_core.result.arrays import NEGLIGIBLE

Array = NDArray[Any]
"""What is decided about columns is decided in NumPy: a call of torch's takes longer than arithmetic on few numbers."""

Start = Literal["shared", "grouped", "measured"]
"""The behaviour of a path near a = 0, and so the grading of its nodes.

shared    zero baseline through attention: nearly scale free, so the mass may sit at a ~ 1e-6; every node is
          paid for all targets, so they share one grading
grouped   zero baseline token by token: the same, but each group of targets can have a grading of its own
measured  smooth unless seven nodes say otherwise
"""

Status = Literal["ok", "zero_path", "noise_limited", "discontinuous", "budget", "fixed"]
FINE: tuple[Status, ...] = ("ok", "zero_path", "fixed")
"""Statuses that say nothing is wrong."""


@dataclass(frozen=True)
class Sums:
    """Values at nodes, and weighted sums of rates over nodes.

    lengths [nodes, columns]: L_j(a); slopes [nodes, columns]: Σ_i rate_ij(a) = dL_j/da;
    weighted [rules, columns, sources]: Σ_k w_mk rate_ij(a_k) for each row m of weights, in float64;
    witness: the same of the witness's rates q̇_ij, None where there is no witness.
    """

    lengths: Tensor
    slopes: Tensor
    weighted: Tensor
    witness: Tensor | None = None


class Integrand(Protocol):
    """The rates of a map along its paths. A column is one target (of one head); it spreads over sources.

    A witness is a function q_ij(a) that is known at any point without quadrature, whose rates are computed with the
    map's own and change where these change: what a rule misses of Δq it is likely to miss of the map, source by source.
    """

    num_columns: int
    num_sources: int
    start: Start
    dtype: torch.dtype  # the precision that L is computed in
    witnessed: bool  # whether there is a witness
    opaque: bool  # whether nothing is known of what happens inside: neither a witness nor parts
    kinked: bool  # whether rates may jump along a path
    routed: bool  # whether L itself may
    over_tokens: bool  # whether sources are the tokens of the sequence

    @property
    def reference(self) -> Tensor:
        """‖F_j(z⁰)‖₂ [columns], float64: the size of what is subtracted, hence of the rounding in L_j."""
        ...

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        """L_j(a) = ‖F_j(z(a)) − F_j(z⁰)‖₂ [nodes, columns], float64, by forward passes alone."""
        ...

    def totals(self) -> Tensor:
        """L_j(1) [columns], float64. To be asked first: the witness is made there."""
        ...

    def growth(self) -> Tensor | None:
        """q_ij(1) − q_ij(0), what the witness grows by along the whole path [columns, sources]; None without one."""
        ...

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        """Rates at nodes a [nodes] for the given columns, summed with weights [rules, nodes].

        Columns may have nodes of their own, in all functions: a [nodes, columns] and weights [rules, nodes, columns], a
        column as often as there are nodes for it; where paths are `shared`, those of a text have the same.
        """
        ...

    def shares(self, a: Tensor, columns: Tensor) -> Tensor:
        """The witness q_ij(a) [nodes, columns, sources], float64, by forward passes alone; only where `witnessed`."""
        ...

    def parts(self, columns: Tensor) -> Parts | None:
        """What happens inside the map and need not show in L; None where nothing is known to."""
        ...


@dataclass(frozen=True)
class Parts:
    """Where things happen on a path that L need not show.

    widths [columns]: of layers at a = 0 that are known; lengths: of parts of the map that are measured, as L is;
    switches [columns]: the a within which attention may turn from one source to another, anywhere.
    """

    widths: Tensor | None = None
    lengths: Callable[[Tensor, Tensor], Tensor] | None = None
    switches: Tensor | None = None


@dataclass(frozen=True)
class Attribution:
    """Integrated contributions with their certificate; one entry per column in all but `values`.

    values [columns, sources]; total L_j(1); largest_total max_k L_k(1) of its map (of its text's columns, where texts
    share a sequence); completeness_error |Σ_i values − total| relative to
    max(total, 1e-3 · largest L met), exact; entry_error, an estimate (good to a factor of about 3) of
    Σ_i |error of entry i| relative to the larger of that and Σ_i |values|, NaN where a rule makes none; nodes used;
    converged, see `is_hidden` for what rounding is allowed; status; in_float64, those that were integrated again
    because rounding in float32 would have spoilt them, None where none were.
    """

    values: Tensor
    total: Tensor
    largest_total: Tensor
    completeness_error: Tensor
    entry_error: Tensor
    nodes: Tensor
    converged: Tensor
    status: tuple[Status, ...]
    in_float64: Tensor | None = None

    @property
    def entries_off(self) -> Tensor:
        """The estimated error of all entries of a column together, absolute [columns]; NaN where a rule makes none."""
        return self.entry_error * self._entry_scale(self.values)

    @property
    def sums_off(self) -> Tensor:
        """|Σ_i values − total| [columns]; 0 where nothing moves, and the total is rounding."""
        still = torch.tensor([status == "zero_path" for status in self.status], dtype=torch.bool)
        return (self.values.sum(-1) - self.total).abs().masked_fill(still, 0.0)

    def _entry_scale(self, values: Tensor) -> Tensor:
        """What errors of entries are relative to [columns]: Σ_i |value|, or `scale_of` among a map's totals."""
        return torch.maximum(self.total, NEGLIGIBLE * self.largest_total).maximum(values.abs().sum(-1))

    def joined(self, other: Attribution, values: Tensor, entries_off: Tensor, most: float) -> Attribution:
        """`corrected`, of what is made of this and a second attribution.

        Nodes add up; a column is converged where both are, and takes the other's status where that is worse.
        """
        pairs = zip(self.status, other.status, strict=True)
        again = [one for one in (self.in_float64, other.in_float64) if one is not None]
        both = replace(
            self,
            nodes=self.nodes + other.nodes,
            converged=self.converged & other.converged,
            status=tuple(others if mine in FINE and others not in FINE else mine for mine, others in pairs),
            in_float64=torch.stack(again).any(0) if again else None,
        )
        return both.corrected(values, entries_off, most)

    def corrected(self, values: Tensor, entries_off: Tensor, most: float) -> Attribution:
        """Other values with the same column sums, and what they are off by, absolute [columns]; NaN where not known.

        A column stays converged where its `entry_error` is no more than `most`. What is off by more than that of
        itself, and not of the thousandth of the map's largest total, is hidden in rounding: known to be small.
        """
        own = torch.maximum(self.total, values.abs().sum(-1)).clamp_min(TINY)
        of_itself, of_scale = entries_off / own, entries_off / self._entry_scale(values).clamp_min(TINY)
        beyond = of_scale > most
        hidden = (of_itself > most) & ~beyond
        status: list[Status] = []
        for now, wrong, unseen in zip(self.status, beyond.tolist(), hidden.tolist(), strict=True):
            status.append(now if now not in FINE else "budget" if wrong else "noise_limited" if unseen else now)
        return replace(
            self,
            values=values,
            entry_error=torch.where(hidden, of_itself.clamp_max(1.0), of_scale),
            converged=self.converged & ~beyond,
            status=tuple(status),
        )

    def select(self, columns: Tensor) -> Attribution:
        """Some of the columns (a boolean mask)."""
        return Attribution(
            values=self.values[columns],
            total=self.total[columns],
            largest_total=self.largest_total[columns],
            completeness_error=self.completeness_error[columns],
            entry_error=self.entry_error[columns],
            nodes=self.nodes[columns],
            converged=self.converged[columns],
            status=tuple(s for s, keep in zip(self.status, columns.tolist(), strict=True) if keep),
            in_float64=None if self.in_float64 is None else self.in_float64[columns],
        )


class Quadrature(Protocol):
    """A way of integrating rates from a = 0 to a = 1."""

    @property
    def rtol(self) -> float:
        """The relative tolerance that `converged` is judged by."""
        ...

    @property
    def name(self) -> str:
        """The quadrature's name in the receipt."""
        ...

    def integrate(self, integrand: Integrand) -> Attribution:
        """The contributions of every source to every column."""
        ...


ENTRY = 3.0
"""The estimated error of a column's entries, all together, may be this many times its tolerance: it is an estimate."""
EVEN = 1e-2
"""The estimated error of entries may be ENTRY times the tolerance; where tolerances are loose and estimates worse, it
grows with the root only: from EVEN on it is the tolerance itself."""


TINY = float(np.finfo(np.float64).tiny)


def largest_of(total: Array) -> Array:
    """The largest total of a map, for each of its columns."""
    return np.full_like(total, total.max(initial=0.0))


def scale_of(total: Array, largest: Array) -> Array:
    """The scale that an error in a column is relative to: its total, or a thousandth of the largest L met."""
    return np.maximum(total, NEGLIGIBLE * largest)


def entry_rtol(rtol: float) -> float:
    """The relative tolerance of the estimated error of entries: 3e-3 for the usual 1e-3, 4.5e-3 for 2e-3."""
    return min(ENTRY * rtol, math.sqrt(EVEN * rtol))


def is_hidden(error: Array, entries: Array, floor: Array, total: Array, rtol: float) -> Array:
    """True if rounding alone may have made an error, and what it can make does not matter in the map [columns].

        error_j ≤ floor_j ≤ rtol · max_k L_k(1),   entries_j ≤ entry_rtol · max_k L_k(1)

    All are absolute: of a column's sum, and of its entries all together. Such a column has converged although its own
    total is too small to tell: it is known to within the tolerance of the largest column beside it.
    """
    largest = largest_of(total)
    of_sum = (error <= floor * (1 + 1e-9)) & (floor <= rtol * largest)
    hidden: Array = of_sum & (entries <= entry_rtol(rtol) * largest)
    return hidden


def rounding_floor(integrand: Integrand, total: Array) -> Array:
    """The absolute error that rounding in L_j alone can make: 16 ε (‖F_j(z⁰)‖ + L_j(1))."""
    floor: Array = 16 * torch.finfo(integrand.dtype).eps * (integrand.reference.numpy() + total)
    return floor
