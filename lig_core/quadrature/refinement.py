"""Refining: nested rules on panels of the path, for columns that fail, until each is certified or can go no further."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.integrand import (
    ENTRY,
    TINY,
    Array,
    Attribution,
    Integrand,
    Status,
    entry_rtol,
    is_hidden,
    largest_of,
    rounding_floor,
    scale_of,
)
from lig_core.quadrature.rules import NestedRule, gauss_patterson, weights_where_added

MIN_CUT = 1e-3
TRUST, TRUST_ALONE = 1.0, 2.0
"""K in K·D^1.5, the error expected of a rule that differs by D from the one before; with a witness, and without."""
SLOW = 0.25
"""Rules that differ by more than this share of how the two before them did are not yet converging."""


@dataclass
class Panel:
    """A piece [low, high] of the graded path for some columns, with what is known of it so far."""

    grading: Grading
    low: float
    high: float
    columns: Array
    at_low: Array  # L at its ends, [columns]
    at_high: Array
    level: int = 0  # index of the last rule applied; the first only serves the next to be compared with
    t: Array = field(default_factory=lambda: np.zeros(0))  # nodes in (0, 1) of the panel
    lengths: Array | None = None  # [nodes, columns]
    slopes: Array | None = None  # dL/dt per unit of the panel, [nodes, columns]
    sums: Array | None = None  # by rule from `level` on, [rules, columns, sources]
    witness: Array | None = None  # the same of the witness's rates
    growth: Array | None = None  # what the witness grows by, [columns, sources]
    change: Array | None = None  # D: how much the last two rules differ, relative, [columns]
    errors: Array | None = None  # of L at its end, of L inside, of all entries together, [3, columns]

    @property
    def width(self) -> float:
        """Of the graded path."""
        return self.high - self.low

    def add(self, t: Array, lengths: Array, slopes: Array, sums: Array, witness: Array | None) -> None:
        """Take what was found at some more nodes."""
        if self.lengths is None or self.slopes is None or self.sums is None:
            self.t, self.lengths, self.slopes, self.sums, self.witness = t, lengths, slopes, sums, witness
            return
        order = np.concatenate([self.t, t]).argsort()
        self.t = np.concatenate([self.t, t])[order]
        self.lengths = np.concatenate([self.lengths, lengths])[order]
        self.slopes = np.concatenate([self.slopes, slopes])[order]
        self.sums[1:] += sums
        if self.witness is not None and witness is not None:
            self.witness[1:] += witness

    def select(self, keep: Array) -> Panel:
        """The same piece for fewer columns."""

        def pick(x: Array | None) -> Array | None:
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
        self.columns = np.arange(integrand.num_columns)
        self.total = integrand.totals().numpy()
        growth = integrand.growth()
        self.growth = None if growth is None else growth.numpy()  # of the witness along the whole path
        self.largest = self.total.copy()
        self.floor = rounding_floor(integrand, self.total)
        self.values = np.zeros((integrand.num_columns, integrand.num_sources))
        self.errors = np.zeros((3, integrand.num_columns))  # as a panel's, summed
        self.largest_sum = self.total.copy()  # of |entries|
        self.nodes = np.zeros_like(self.columns)
        self.stuck = np.zeros_like(self.columns, dtype=np.bool_)

    def lengths(self, a: Array, columns: Array) -> Array:
        """L [nodes, columns]."""
        return self.integrand.lengths(torch.from_numpy(a), torch.from_numpy(columns)).numpy()

    @property
    def tolerance(self) -> Array:
        """Absolute tolerance [columns]: rtol of the scale, but not below what rounding allows."""
        return np.maximum(self.effort.rtol * scale_of(self.total, self.largest), self.floor)

    @property
    def entry_tolerance(self) -> Array:
        """The same for the estimated error of all entries together."""
        return np.maximum(entry_rtol(self.effort.rtol) * self.entry_scale, ENTRY * self.floor)

    @property
    def entry_scale(self) -> Array:
        """What the error of a column's entries is relative to: their absolute sum, where that is more."""
        return np.maximum(scale_of(self.total, self.largest), self.largest_sum)

    @property
    def still(self) -> Array:
        """Columns whose L never leaves what rounding makes of it."""
        return self.largest <= self.floor

    @property
    def dead(self) -> Array:
        """Columns where nothing moves along the path: neither L nor what the sources add up to without their signs."""
        return self.still & (self.largest_sum <= ENTRY * self.floor)

    def look_at_still(self) -> None:
        """The rates of columns whose L does not move, at one place: opposite ones may hide each other there."""
        columns = self.columns[self.still]
        if len(columns):
            half, one = torch.full((1,), 0.5, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
            rates = self.integrand.accumulate(half, torch.from_numpy(columns), one).weighted[0].numpy()
            size = np.abs(rates).sum(-1)
            self.largest_sum[columns] = np.maximum(self.largest_sum[columns], size)
            self.nodes[columns] += 1

    def note_largest(self, columns: Array, lengths: Array) -> None:
        """Some L [columns] that was met."""
        self.largest[columns] = np.maximum(self.largest[columns], lengths)

    def error_of_sums(self, errors: Array) -> Array:
        """What the tolerance is about, of errors [3, columns]: that at the end, or inside, where more is allowed."""
        return np.maximum(errors[0], errors[1] / self.effort.strictness)

    def certified(self, errors: Array, columns: Array) -> Array:
        """The columns whose errors [3, columns] are within both tolerances."""
        sums, entries = self.tolerance[columns], self.entry_tolerance[columns]
        return (self.error_of_sums(errors) <= sums) & (errors[2] <= entries)

    def path(self, columns: Array, grading: Grading, pieces: int = 1) -> list[Panel]:
        """The whole path of some columns, in pieces of equal length on the graded axis."""
        whole = Panel(grading, 0.0, 1.0, columns, np.zeros_like(self.total[columns]), self.total[columns])
        return self.panels([k / pieces for k in range(pieces + 1)], whole)

    def panels(self, edges: list[float], panel: Panel) -> list[Panel]:
        """A panel in parts, cut at all but the outer edges: with L at each, and what the witness grows by in each."""
        a, _ = panel.grading(np.array(edges))
        columns = panel.columns
        inside = self.lengths(a[1:-1], columns) if len(a) > 2 else ()
        lengths = [panel.at_low, *inside, panel.at_high]
        growths: Sequence[Array | None] = [None] * (len(a) - 1)
        if self.growth is not None and len(a) == 2:
            growths = [self.growth[columns]]
        elif self.growth is not None:
            shares = self.integrand.shares(torch.from_numpy(a), torch.from_numpy(columns))
            growths = list(np.diff(shares.numpy(), axis=0))
        # Where nothing but comparing rules tells, or they agree by chance, more nodes are compared.
        level = 1 if self.integrand.opaque or self.integrand.kinked else 0
        return [
            Panel(panel.grading, low, high, columns, before, after, level, growth=growth)
            for (low, high), (before, after), growth in zip(pairwise(edges), pairwise(lengths), growths, strict=True)
        ]

    def apply_next_rule(self, panels: Sequence[Panel]) -> None:
        """Evaluate the nodes that the next rule adds, of all panels by one call a rule, and compare with L at each.

        Where all columns share one path, a node is paid for all of them: panels with nodes of their own go by turns.
        """
        alike: dict[tuple[int, ...], list[Panel]] = {}
        for place, panel in enumerate(panels):
            turn = place if self.integrand.start == "shared" else 0
            alike.setdefault((panel.level, panel.sums is None, turn), []).append(panel)
        for members in alike.values():
            self._apply_to(members)

    def _apply_to(self, panels: list[Panel]) -> None:
        """The same for panels that stand at one rule."""
        level, first = panels[0].level + 1, panels[0].sums is None
        t, shared = weights_where_added(self.effort.sizes, level, first=first)
        at = [panel.grading(panel.low + panel.width * t) for panel in panels]
        jacobians = [slope * panel.width for panel, (_, slope) in zip(panels, at, strict=True)]
        if len(panels) == 1:
            a, weights = at[0][0], shared * jacobians[0]
        else:  # [nodes, columns] and [rules, nodes, columns]
            counts = [len(panel.columns) for panel in panels]
            a = np.repeat(np.stack([a for a, _ in at], -1), counts, -1)
            weights = np.repeat(shared[..., None] * np.stack(jacobians, -1), counts, -1)
        columns = np.concatenate([panel.columns for panel in panels])
        found = self.integrand.accumulate(*(torch.from_numpy(x) for x in (a, columns, weights)))
        lengths, slopes, sums = (x.numpy() for x in (found.lengths, found.slopes, found.weighted))
        witness = None if found.witness is None else found.witness.numpy()
        end = 0
        for panel, jacobian in zip(panels, jacobians, strict=True):
            part = slice(end, end + len(panel.columns))
            end = part.stop
            panel.level = level
            self.nodes[panel.columns] += len(t)
            self.note_largest(panel.columns, lengths[:, part].max(0))
            grown = None if witness is None else witness[:, part]
            panel.add(t, lengths[:, part], slopes[:, part] * jacobian[:, None], sums[:, part], grown)
        for panel in panels:
            assert panel.lengths is not None
            rise = np.concatenate([panel.lengths, panel.at_high[None]]) - panel.at_low
            missed = np.abs(self.effort.rules[level].cumulative @ panel.slopes - rise)
            panel.errors = np.stack([missed[-1], missed.max(0), self.estimate_entries(panel)])

    def estimate_entries(self, panel: Panel) -> Array:
        """Σ_i |error of entry i| of a panel, by the rule before and by the witness; drops what the rule before left."""
        assert panel.sums is not None
        before, now = panel.sums[0], panel.sums[1]
        c, size = panel.columns, np.abs(now).sum(-1)
        self.largest_sum[c] = np.maximum(self.largest_sum[c], size)
        scale = np.maximum(size, scale_of(self.total[c], self.largest[c]))
        change = np.abs(now - before).sum(-1) / np.maximum(scale, TINY)
        trust = TRUST if self.integrand.witnessed else TRUST_ALONE
        expected = trust * change**1.5
        if self.integrand.kinked:  # no rule converges by its order there
            expected = np.maximum(expected, change)
        if panel.change is not None:
            ratio = change / np.maximum(panel.change, TINY)
            expected = np.where(ratio > SLOW, np.maximum(expected, change * np.minimum(ratio, 1)), expected)
        panel.change, panel.sums = change, panel.sums[1:]
        if panel.witness is None or panel.growth is None:
            error: Array = expected * scale
            return error
        panel.witness = panel.witness[1:]
        return np.maximum(expected * scale, np.abs(panel.witness[0] - panel.growth).sum(-1))

    def accept(self, panel: Panel, keep: Array) -> None:
        """Add a panel's current estimate to the result, for the columns marked."""
        if not keep.any():
            return
        done = panel.select(keep)
        assert done.sums is not None and done.errors is not None
        self.values[done.columns] += done.sums[0]
        self.errors[:, done.columns] += done.errors

    def solve(self, active: list[Panel]) -> None:
        """Refine panels, columns that fail only, until every column is certified or can go no further."""
        self.apply_next_rule([panel for panel in active if panel.sums is None])
        accepted = np.zeros_like(self.columns)
        while active:
            count, errors = accepted.copy(), self.errors.copy()
            for piece in active:
                assert piece.errors is not None
                count[piece.columns] += 1
                errors[:, piece.columns] += piece.errors
            certified = self.certified(errors, self.columns)
            parts = 2 * np.maximum(count, 1)
            following: list[Panel] = []
            for piece in active:
                c = piece.columns
                assert piece.errors is not None
                excess = ~self.certified(piece.errors * parts[c], c)  # more than its share
                refine = ~certified[c] & excess & (self.nodes[c] < self.effort.max_nodes)
                narrow = piece.level + 1 == len(self.effort.sizes) and piece.width < self.effort.min_width
                if narrow:
                    self.stuck[c[refine]] = True
                    refine = np.zeros_like(refine)
                self.accept(piece, ~refine)
                accepted[c[~refine]] += 1
                if refine.any():
                    following += self.refined(piece.select(refine))
            self.apply_next_rule(following)
            active = following

    def refined(self, panel: Panel) -> list[Panel]:
        """The panel ready for the next rule, or cut around the interval that its nodes resolve worst.

        Where that is, L tells; where L is right and entries are not, nothing does: the panel is halved. But where rates
        jump L bends, however right its end is.
        """
        if panel.level + 1 < len(self.effort.sizes):
            return [panel]
        assert panel.lengths is not None and panel.slopes is not None
        if self.is_of_entries(panel) and not self.integrand.kinked:
            return self.panels([panel.low, (panel.low + panel.high) / 2, panel.high], panel)
        gaps, grown = np.diff(panel.t), np.diff(panel.lengths, axis=0)
        missed = np.abs(grown - gaps[:, None] * (panel.slopes[1:] + panel.slopes[:-1]) / 2)
        missed = missed / np.maximum(missed.sum(0), TINY)
        worst = int(missed.mean(1).argmax())
        cuts = [float(panel.t[k]) for k in (worst, worst + 1) if 0 < k < len(panel.t) - 1]
        cuts = [t for t in cuts if MIN_CUT < t < 1 - MIN_CUT] or [0.5]
        edges = [panel.low, *(panel.low + panel.width * t for t in cuts), panel.high]
        return self.panels(edges, panel)

    def is_of_entries(self, panel: Panel) -> bool:
        """True if a panel fails by its entries more than by its sums."""
        assert panel.errors is not None
        c = panel.columns
        of_sums = self.error_of_sums(panel.errors) / np.maximum(self.tolerance[c], TINY)
        return bool((panel.errors[2] / np.maximum(self.entry_tolerance[c], TINY)).max() > of_sums.max())

    def result(self) -> Attribution:
        """What was accepted, with its certificate."""
        still, dead = self.still, self.dead
        values = np.where(still[:, None], 0.0, self.values)
        error = np.where(still, self.total, self.error_of_sums(self.errors))
        scale = scale_of(self.total, self.largest)
        entry_scale, room = self.entry_scale, 1 + 1e-9
        within_rtol = (error <= self.effort.rtol * scale * room) & (
            self.errors[2] <= entry_rtol(self.effort.rtol) * entry_scale * room
        )
        reached = (error <= self.tolerance * room) & (self.errors[2] <= self.entry_tolerance * room)
        of_entries = np.where(still, self.largest_sum, self.errors[2])
        hidden = is_hidden(error, of_entries, self.floor, self.total, self.effort.rtol)
        status: list[Status] = []
        for nothing, unseen, fine, rounding, stuck in zip(
            dead.tolist(),
            still.tolist(),
            within_rtol.tolist(),
            (reached | hidden).tolist(),
            self.stuck.tolist(),
            strict=True,
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
        completeness = np.abs(values.sum(-1) - self.total) / np.maximum(scale, TINY)
        entries = self.errors[2] / np.maximum(entry_scale, TINY)
        entries = np.where(dead, 0.0, np.where(still, 1.0, entries))  # of what hides in rounding: all
        converged = (within_rtol & ~still) | dead | hidden
        return Attribution(
            values=torch.from_numpy(values),
            total=torch.from_numpy(self.total),
            largest_total=torch.from_numpy(largest_of(self.total)),
            completeness_error=torch.from_numpy(np.where(dead, 0.0, completeness)),
            entry_error=torch.from_numpy(entries),
            nodes=torch.from_numpy(self.nodes),
            converged=torch.from_numpy(converged),
            status=tuple(status),
        )
