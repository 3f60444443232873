"""Integrals to judge others by: Gauss-Lobatto panels, halved until entries, and nothing else, agree.

It shares no node, no grading, no stopping rule and no error estimate with the adaptive quadrature. Panels are equally
long in the middle of the path and shrink fourfold towards both ends; each is compared with its two halves, entry by
entry, column by column, and halved on until they agree. Their ends are nodes, so that a kink close to one is met. What
is known exactly, the growth of L and of the witness over a panel, is a reason to halve it, never one to accept it: no
event of either is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.polynomial import Legendre
from torch import Tensor

from lig_core.engines.chunking import ChunkedIntegrand
from lig_core.quadrature.integrand import Attribution, Integrand
from lig_core.quadrature.rules import gauss_legendre

NODES = 6
"""Of a panel."""
FIRST, MIDDLE = 1 / 16, 7
"""Between FIRST and 1 − FIRST there are MIDDLE panels of equal length."""
RATIO = 4.0
ZERO_DEPTH, DEPTH = 21, 10
"""Panels towards an end: 4^-23 of a path from zero, which starts with layers as thin as ε; 4^-12 otherwise."""
AGREEMENT = 1e-4
"""Largest disagreement of a column with its halves, as a share of its L1."""
SHARE = 20
"""A panel may have a 20th of it."""
CHEAP = 2**16
"""Bytes of a (node, column) pair below which calls cost more than what they compute."""
AT_ONCE = 64
"""Panels that one call measures, at most."""
NEGLIGIBLE = 1e-7
BROKEN = 1e-5
"""A panel that misses this share of the column's L1 in what is known exactly has an event inside."""
MOST_HALVINGS = 34
MOST_NODES = 20_000
NOISE = 1e3 * torch.finfo(torch.float64).eps
"""Of ‖F(z⁰)‖ + L: a column no larger than that is rounding."""
FLOOR = 160 * torch.finfo(torch.float32).eps
"""The same in float32, ten times as much as is allowed for there."""


@dataclass(frozen=True)
class Reference:
    """A quadrature. `converged`: the column and its halves agree to AGREEMENT; `entry_error`: how far they do not.

    Status `zero_path` says of a column that all of it is no more than rounding is in float32.
    """

    rtol: float = AGREEMENT
    name: str = "halved_gauss_lobatto"

    def integrate(self, integrand: Integrand) -> Attribution:
        """The contributions of every source to every column."""
        assert isinstance(integrand, ChunkedIntegrand)
        return _Run(integrand).solve()


@dataclass
class _Panels:
    """Pieces of the path, each for the columns where it is `live`; nothing is known of it for the others."""

    ends: Tensor  # [panels, 2]
    live: Tensor  # [panels, columns]
    sums: Tensor  # [panels, columns, sources]
    grown: Tensor  # |ΔL| [panels, columns]
    broken: Tensor  # the most that what is known exactly is missed by

    def of(self, live: Tensor) -> _Panels:
        """For fewer columns; without the panels that no column has left."""
        some = live.any(1)
        return _Panels(self.ends[some], live[some], self.sums[some], self.grown[some], self.broken[some])


class _Run:
    def __init__(self, integrand: ChunkedIntegrand) -> None:
        self.integrand = integrand
        self.total = integrand.totals()
        self.values = torch.zeros(integrand.num_columns, integrand.num_sources, dtype=torch.float64)
        self.disagreement = torch.zeros_like(self.total)
        self.nodes = torch.zeros(integrand.num_columns, dtype=torch.long)
        self.noise = NOISE * (integrand.reference + self.total)
        self.floor = FLOOR * (integrand.reference + self.total)

    def solve(self) -> Attribution:
        panels = self.start()
        for halving in range(MOST_HALVINGS):
            if len(panels.ends) == 0:
                break
            panels = self.halved(panels, last=halving == MOST_HALVINGS - 1)
        size = self.values.abs().sum(-1)
        still = size <= self.noise
        error = torch.where(still, 0.0, self.disagreement / size.clamp_min(torch.finfo(size.dtype).tiny))
        return Attribution(
            values=torch.where(still[:, None], 0.0, self.values),
            total=self.total,
            largest_total=torch.full_like(self.total, float(self.total.max())),
            completeness_error=torch.where(still, self.noise, (self.values.sum(-1) - self.total).abs()),
            entry_error=error,
            nodes=self.nodes,
            converged=error <= AGREEMENT,
            status=tuple("zero_path" if rounding else "fixed" for rounding in (size <= self.floor).tolist()),
        )

    def scale(self, panels: _Panels) -> Tensor:
        """L1 of every column, as far as it is known, but no rounding."""
        sums = self.values + torch.where(panels.live[..., None], panels.sums, 0.0).sum(0)
        return torch.maximum(sums.abs().sum(-1), self.noise)

    def start(self) -> _Panels:
        """The first panels, for the columns to which something happens there."""
        edges = torch.tensor(_edges(zero=self.integrand.start != "measured"), dtype=torch.float64)
        ends = torch.stack([edges[:-1], edges[1:]], 1)
        panels = self.measured(ends, torch.ones(len(ends), self.integrand.num_columns, dtype=torch.bool))
        size = panels.sums.abs().sum(-1)
        idle = torch.stack([size, panels.grown, panels.broken]).amax(0) <= NEGLIGIBLE * self.scale(panels)
        self.add(idle, panels.sums, size)
        return panels.of(~idle)

    def halved(self, panels: _Panels, *, last: bool) -> _Panels:
        """The halves, for the columns that do not agree yet; the others are added to the result."""
        scale = self.scale(panels)
        middle = panels.ends.mean(1)
        ends = torch.stack([panels.ends[:, 0], middle, middle, panels.ends[:, 1]], 1).reshape(-1, 2)
        halves = self.measured(ends, panels.live.repeat_interleave(2, 0))
        finer = halves.sums.unflatten(0, (-1, 2)).sum(1)
        error = (finer - panels.sums).abs().sum(-1)
        broken = halves.broken.unflatten(0, (-1, 2)).amax(1) > BROKEN * scale
        agreed = (error <= AGREEMENT / SHARE * scale) & ~broken | (self.nodes >= MOST_NODES) | last
        self.add(panels.live & agreed, finer, error)
        return halves.of((panels.live & ~agreed).repeat_interleave(2, 0))

    def add(self, chosen: Tensor, values: Tensor, error: Tensor) -> None:
        """Add panels to the result, for the columns chosen [panels, columns]."""
        self.values += torch.where(chosen[..., None], values, 0.0).sum(0)
        self.disagreement += torch.where(chosen, error, 0.0).sum(0)

    def measured(self, ends: Tensor, live: Tensor) -> _Panels:
        """Panels with their sums; those of the same columns by one call, or any where a call costs most."""
        shape = (len(ends), self.integrand.num_columns)
        sums = torch.zeros(*shape, self.integrand.num_sources, dtype=torch.float64)
        grown, broken = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
        cheap = self.integrand.bytes_per_pair() <= CHEAP
        sets = torch.zeros(len(ends), dtype=torch.long) if cheap else live.unique(dim=0, return_inverse=True)[1]
        for members in (part for k in sets.unique() for part in (sets == k).nonzero()[:, 0].split(AT_ONCE)):
            columns = live[members].any(0).nonzero()[:, 0]
            here = (members[:, None], columns)
            sums[here], grown[here], broken[here] = self.measure(ends[members], columns)
        self.nodes += NODES * live.sum(0)
        return _Panels(ends, live, sums, grown, broken)

    def measure(self, ends: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums, |ΔL| and the most that is missed of what is known exactly: [panels, columns, …]."""
        widths = ends.diff()
        # No node at 0, where L has no derivative.
        rules = [gauss_legendre(NODES) if low == 0 else gauss_lobatto(NODES) for low in ends[:, 0].tolist()]
        points, shares = (torch.stack(parts) for parts in zip(*rules, strict=True))
        a = (ends[:, :1] + widths * points).flatten()
        sums = self.integrand.accumulate(a, columns, torch.block_diag(*(widths * shares)))
        places, index = ends.unique(return_inverse=True)  # neighbours share an edge
        grown = self.integrand.lengths(places, columns)[index].diff(dim=1).squeeze(1)
        broken = (sums.weighted.sum(-1) - grown).abs()
        if sums.witness is not None:
            known = self.integrand.shares(places, columns)[index].diff(dim=1).squeeze(1)
            broken = torch.maximum(broken, (sums.witness - known).abs().sum(-1))
        return sums.weighted, grown.abs(), (broken - self.noise[columns]).clamp_min(0)


def _edges(*, zero: bool) -> list[float]:
    left = [FIRST * RATIO**-k for k in range(ZERO_DEPTH if zero else DEPTH)][::-1]
    right = [1 - FIRST * RATIO**-k for k in range(DEPTH)]
    step = (1 - 2 * FIRST) / MIDDLE
    return [0.0, *left, *(FIRST + k * step for k in range(1, MIDDLE)), *right, 1.0]


@cache
def gauss_lobatto(count: int) -> tuple[Tensor, Tensor]:
    """Nodes, 0 and 1 among them, and weights on [0, 1]; exact for polynomials of degree 2·count − 3."""
    highest = Legendre.basis(count - 1)
    x = np.array([-1.0, *highest.deriv().roots(), 1.0])
    return torch.tensor((x + 1) / 2), torch.tensor(1 / (count * (count - 1) * highest(x) ** 2))
