"""Refining: nested rules on panels of the path, for columns that fail, until each is certified or can go no further."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.integrand import ENTRY, Attribution, Integrand, Status, is_hidden, rounding_floor, scale_of
from lig_core.quadrature.rules import NestedRule, gauss_patterson, weights_where_added

MIN_CUT = 1e-3
EVEN = 1e-2
"""The estimated error of entries may be ENTRY times the tolerance; from this tolerance on, where estimates are worse,
once; between them it may grow with the root."""
TRUST, TRUST_ALONE = 1.0, 2.0
"""K in K·D^1.5, the error expected of a rule that differs by D from the one before; with a witness, and without."""
SLOW = 0.25
"""Rules that differ by more than this share of how the two before them did are not yet converging."""


@dataclass
class Panel:
    """A piece [low, high] of the graded path for some columns, with what is known of it so far."""

    low: float
    high: float
    columns: Tensor
    at_low: Tensor  # L at its ends, [columns]
    at_high: Tensor
    level: int = 0  # index of the last rule applied; the first only serves the next to be compared with
    t: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))  # nodes in (0, 1) of the panel
    lengths: Tensor | None = None  # [nodes, columns]
    slopes: Tensor | None = None  # dL/dt per unit of the panel, [nodes, columns]
    sums: Tensor | None = None  # by rule from `level` on, [rules, columns, sources]
    witness: Tensor | None = None  # the same of the witness's rates
    growth: Tensor | None = None  # what the witness grows by, [columns, sources]
    change: Tensor | None = None  # D: how much the last two rules differ, relative, [columns]
    errors: Tensor | None = None  # of L at its end, of L inside, of all entries together, [3, columns]

    @property
    def width(self) -> float:
        """Of the graded path."""
        return self.high - self.low

    def select(self, keep: Tensor) -> Panel:
        """The same piece for fewer columns."""

        def pick(x: Tensor | None) -> Tensor | None:
            return None if x is None else x[..., keep]

        return replace(
            self,
            columns=self.columns[keep],
            at_low=self.at_low[keep],
            at_high=self.at_high[keep],
            lengths=pick(self.lengths),
            slopes=pick(self.slopes),
            sums=None if self.sums is None else self.sums[:, keep],
            witness=None if self.witness is None else self.witness[:, keep],
            growth=None if self.growth is None else self.growth[keep],
            change=pick(self.change),
            errors=pick(self.errors),
        )


def entry_rtol(rtol: float) -> float:
    """The relative tolerance of the estimated error of entries: 3e-3 for the usual 1e-3, 1e-2 for 1e-2."""
    return max(rtol, min(ENTRY * rtol, math.sqrt(EVEN * rtol)))


@dataclass(frozen=True)
class Effort:
    """How exact an integral must be, and how far one may go for it.

    rtol: of a column's total (of a thousandth of the largest L met, if that is more).
    strictness: the check inside a panel may be this many times looser than the one at its end; 1 is stricter.
    max_nodes: per column; min_width: of a panel, as a share of the graded path.
    """

    rtol: float = 1e-3
    strictness: float = 2.0
    max_nodes: int = 512
    min_width: float = 1e-7
    sizes: tuple[int, ...] = (3, 7, 15, 31)

    @property
    def rules(self) -> tuple[NestedRule, ...]:
        """The nested rules; the first only serves the next to be compared with."""
        return gauss_patterson(*self.sizes)


class Refinement:
    """One integration: tolerances, what is accepted so far, what each column has cost."""

    def __init__(self, effort: Effort, integrand: Integrand) -> None:
        self.effort, self.integrand = effort, integrand
        self.columns = torch.arange(integrand.num_columns)
        self.total = integrand.totals()
        self.largest = self.total.clone()
        self.floor = rounding_floor(integrand, self.total)
        shape = (integrand.num_columns, integrand.num_sources)
        self.values = torch.zeros(shape, dtype=torch.float64)
        self.errors = torch.zeros(3, integrand.num_columns, dtype=torch.float64)  # as a panel's, summed
        self.largest_sum = self.total.clone()  # of |entries|
        self.nodes = torch.zeros_like(self.columns)
        self.stuck = torch.zeros_like(self.columns, dtype=torch.bool)

    @property
    def tolerance(self) -> Tensor:
        """Absolute tolerance [columns]: rtol of the scale, but not below what rounding allows."""
        return torch.maximum(self.effort.rtol * scale_of(self.total, self.largest), self.floor)

    @property
    def entry_tolerance(self) -> Tensor:
        """The same for the estimated error of all entries together."""
        return torch.maximum(entry_rtol(self.effort.rtol) * self.entry_scale, ENTRY * self.floor)

    @property
    def entry_scale(self) -> Tensor:
        """What the error of a column's entries is relative to: their absolute sum, where that is more."""
        return torch.maximum(scale_of(self.total, self.largest), self.largest_sum)

    @property
    def still(self) -> Tensor:
        """Columns whose L never leaves what rounding makes of it."""
        return self.largest <= self.floor

    @property
    def dead(self) -> Tensor:
        """Columns where nothing moves along the path: neither L nor what the sources add up to without their signs."""
        return self.still & (self.largest_sum <= ENTRY * self.floor)

    def look_at_still(self) -> None:
        """The rates of columns whose L does not move, at one place: opposite ones may hide each other there."""
        columns = self.columns[self.still]
        if len(columns):
            half, one = torch.full((1,), 0.5, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
            size = self.integrand.accumulate(half, columns, one).weighted[0].abs().sum(-1)
            self.largest_sum[columns] = torch.maximum(self.largest_sum[columns], size)
            self.nodes[columns] += 1

    def note_largest(self, columns: Tensor, lengths: Tensor) -> None:
        """Some L [columns] that was met."""
        self.largest[columns] = torch.maximum(self.largest[columns], lengths)

    def error_of_sums(self, errors: Tensor) -> Tensor:
        """What the tolerance is about, of errors [3, columns]: that at the end, or inside, where more is allowed."""
        return torch.maximum(errors[0], errors[1] / self.effort.strictness)

    def certified(self, errors: Tensor, columns: Tensor) -> Tensor:
        """The columns whose errors [3, columns] are within both tolerances."""
        sums, entries = self.tolerance[columns], self.entry_tolerance[columns]
        return (self.error_of_sums(errors) <= sums) & (errors[2] <= entries)

    def path(self, columns: Tensor, grading: Grading, pieces: int = 1) -> list[Panel]:
        """The whole path of some columns, in pieces of equal length on the graded axis."""
        whole = Panel(0.0, 1.0, columns, torch.zeros_like(self.total[columns]), self.total[columns])
        return self.panels([k / pieces for k in range(pieces + 1)], whole, grading)

    def panels(self, edges: list[float], panel: Panel, grading: Grading) -> list[Panel]:
        """A panel in parts, cut at all but the outer edges: with L at each, and what the witness grows by in each."""
        a, _ = grading(torch.tensor(edges, dtype=torch.float64))
        columns = panel.columns
        inside = self.integrand.lengths(a[1:-1], columns) if len(a) > 2 else ()
        lengths = [panel.at_low, *inside, panel.at_high]
        witnessed = self.integrand.witnessed
        growths = self.integrand.shares(a, columns).diff(dim=0) if witnessed else [None] * (len(a) - 1)
        level = 1 if self.integrand.opaque else 0  # nothing but comparing rules tells then: more nodes to compare
        return [
            Panel(low, high, columns, before, after, level, growth=growth)
            for (low, high), (before, after), growth in zip(pairwise(edges), pairwise(lengths), growths, strict=True)
        ]

    def apply_next_rule(self, panel: Panel, grading: Grading) -> None:
        """Evaluate the nodes that the next rule adds and compare with L at every node."""
        panel.level += 1
        rule = self.effort.rules[panel.level]
        t, shared = weights_where_added(self.effort.sizes, panel.level, first=panel.sums is None)
        a, slope = grading(panel.low + panel.width * t)
        jacobian = slope * panel.width
        weights = shared * jacobian
        sums = self.integrand.accumulate(a, panel.columns, weights)
        slopes = sums.slopes * jacobian[:, None]
        self.nodes[panel.columns] += len(t)
        self.note_largest(panel.columns, sums.lengths.amax(0))
        if panel.lengths is None or panel.slopes is None or panel.sums is None:
            panel.t, panel.lengths, panel.slopes = t, sums.lengths, slopes
            panel.sums, panel.witness = sums.weighted, sums.witness
        else:
            panel.t, order = torch.cat([panel.t, t]).sort()
            panel.lengths = torch.cat([panel.lengths, sums.lengths])[order]
            panel.slopes = torch.cat([panel.slopes, slopes])[order]
            panel.sums[1:] += sums.weighted
            if panel.witness is not None and sums.witness is not None:
                panel.witness[1:] += sums.witness
        grown = torch.cat([panel.lengths, panel.at_high[None]]) - panel.at_low
        missed = (rule.cumulative @ panel.slopes - grown).abs()
        panel.errors = torch.stack([missed[-1], missed.amax(0), self.estimate_entries(panel)])

    def estimate_entries(self, panel: Panel) -> Tensor:
        """Σ_i |error of entry i| of a panel, by the rule before and by the witness; drops what the rule before left."""
        assert panel.sums is not None
        before, now = panel.sums[0], panel.sums[1]
        c, size = panel.columns, now.abs().sum(-1)
        self.largest_sum[c] = torch.maximum(self.largest_sum[c], size)
        scale = torch.maximum(size, scale_of(self.total[c], self.largest[c]))
        change = (now - before).abs().sum(-1) / scale.clamp_min(torch.finfo(scale.dtype).tiny)
        trust = TRUST if self.integrand.witnessed else TRUST_ALONE
        expected = trust * change**1.5
        if panel.change is not None:
            ratio = change / panel.change.clamp_min(torch.finfo(change.dtype).tiny)
            expected = torch.where(ratio > SLOW, torch.maximum(expected, change * ratio.clamp_max(1)), expected)
        panel.change, panel.sums = change, panel.sums[1:]
        if panel.witness is None or panel.growth is None:
            return expected * scale
        panel.witness = panel.witness[1:]
        return torch.maximum(expected * scale, (panel.witness[0] - panel.growth).abs().sum(-1))

    def accept(self, panel: Panel, keep: Tensor) -> None:
        """Add a panel's current estimate to the result, for the columns marked."""
        if not keep.any():
            return
        done = panel.select(keep)
        assert done.sums is not None and done.errors is not None
        self.values[done.columns] += done.sums[0]
        self.errors[:, done.columns] += done.errors

    def solve(self, grading: Grading, active: list[Panel]) -> None:
        """Refine panels, columns that fail only, until every column is certified or can go no further."""
        for panel in active:
            if panel.sums is None:
                self.apply_next_rule(panel, grading)
        accepted = torch.zeros_like(self.columns)
        while active:
            count, errors = accepted.clone(), self.errors.clone()
            for piece in active:
                assert piece.errors is not None
                count[piece.columns] += 1
                errors[:, piece.columns] += piece.errors
            certified = self.certified(errors, self.columns)
            parts = 2 * count.clamp_min(1)
            following: list[Panel] = []
            for piece in active:
                c = piece.columns
                assert piece.errors is not None
                excess = ~self.certified(piece.errors * parts[c], c)  # more than its share
                refine = ~certified[c] & excess & (self.nodes[c] < self.effort.max_nodes)
                narrow = piece.level + 1 == len(self.effort.sizes) and piece.width < self.effort.min_width
                if narrow:
                    self.stuck[c[refine]] = True
                    refine = torch.zeros_like(refine)
                self.accept(piece, ~refine)
                accepted[c[~refine]] += 1
                if refine.any():
                    following += self.refined(piece.select(refine), grading)
            for piece in following:
                self.apply_next_rule(piece, grading)
            active = following

    def refined(self, panel: Panel, grading: Grading) -> list[Panel]:
        """The panel ready for the next rule, or cut around the interval that its nodes resolve worst.

        Where that is, L tells; where L is right and entries are not, nothing does: the panel is halved.
        """
        if panel.level + 1 < len(self.effort.sizes):
            return [panel]
        assert panel.lengths is not None and panel.slopes is not None
        if self.is_of_entries(panel):
            return self.panels([panel.low, (panel.low + panel.high) / 2, panel.high], panel, grading)
        gaps = panel.t.diff()
        grown = panel.lengths.diff(dim=0)
        missed = (grown - gaps[:, None] * (panel.slopes[1:] + panel.slopes[:-1]) / 2).abs()
        missed = missed / missed.sum(0).clamp_min(torch.finfo(missed.dtype).tiny)
        worst = int(missed.mean(1).argmax())
        cuts = [float(panel.t[k]) for k in (worst, worst + 1) if 0 < k < len(panel.t) - 1]
        cuts = [t for t in cuts if MIN_CUT < t < 1 - MIN_CUT] or [0.5]
        edges = [panel.low, *(panel.low + panel.width * t for t in cuts), panel.high]
        return self.panels(edges, panel, grading)

    def is_of_entries(self, panel: Panel) -> bool:
        """True if a panel fails by its entries more than by its sums."""
        assert panel.errors is not None
        c, tiny = panel.columns, torch.finfo(self.total.dtype).tiny
        of_sums = self.error_of_sums(panel.errors) / self.tolerance[c].clamp_min(tiny)
        return bool((panel.errors[2] / self.entry_tolerance[c].clamp_min(tiny)).max() > of_sums.max())

    def result(self) -> Attribution:
        """What was accepted, with its certificate."""
        still, dead = self.still, self.dead
        values = torch.where(still[:, None], 0.0, self.values)
        error = torch.where(still, self.total, self.error_of_sums(self.errors))
        scale = scale_of(self.total, self.largest)
        entry_scale, room = self.entry_scale, 1 + 1e-9
        within_rtol = (error <= self.effort.rtol * scale * room) & (
            self.errors[2] <= entry_rtol(self.effort.rtol) * entry_scale * room
        )
        reached = (error <= self.tolerance * room) & (self.errors[2] <= self.entry_tolerance * room)
        status: list[Status] = []
        for nothing, unseen, fine, rounding, stuck in zip(
            dead.tolist(), still.tolist(), within_rtol.tolist(), reached.tolist(), self.stuck.tolist(), strict=True
        ):
            if nothing:
                status.append("zero_path")
            elif unseen:
                status.append("noise_limited")
            elif fine:
                status.append("ok")
            elif rounding:
                status.append("noise_limited")
            else:
                status.append("discontinuous" if stuck else "budget")
        tiny = torch.finfo(scale.dtype).tiny
        completeness = (values.sum(-1) - self.total).abs() / scale.clamp_min(tiny)
        entries = self.errors[2] / entry_scale.clamp_min(tiny)
        return Attribution(
            values=values,
            total=self.total,
            completeness_error=torch.where(dead, 0.0, completeness),
            entry_error=torch.where(dead, 0.0, torch.where(still, 1.0, entries)),  # of what hides in rounding: all
            nodes=self.nodes,
            converged=(within_rtol & ~still) | dead | is_hidden(error, self.floor, self.total, self.effort.rtol),
            status=tuple(status),
        )
