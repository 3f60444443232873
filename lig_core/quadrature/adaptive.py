"""Adaptive quadrature with a true certificate.

Set-to-set IG has a gift: Σ_i rate_ij(a) = dL_j/da, and L_j(a) is known at every node. So every panel of the
path can be checked exactly, not only at its end but at each node inside:

    e    = |∫ Σ_i rate_ij − ΔL_j|                        over the panel
    cum  = max_k |∫ from the panel's start to node k − ΔL_j|

End-point agreement alone can happen by accident; agreement at every node cannot, and costs nothing.

Sums can agree where entries do not: what one source gains another may lose at the same place. So every entry has an
estimate of its error beside: by comparing nested rules, and, where attention mixes, by a witness that is known exactly
source by source (`Integrand`). A column is certified when both hold.

The path is graded where the mass sits (measured by forward passes: normalisation makes a zero-baseline path
nearly scale free, with boundary layers down to a ~ 1e-6), integrated by nested Gauss-Patterson rules
7 < 15 < 31 that reuse every node, and split around the worst interval when 31 nodes are not enough. Only
columns that fail are refined.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import torch
from torch import Tensor

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.integrand import ENTRY, Attribution, Integrand, Status, is_hidden, rounding_floor, scale_of
from lig_core.quadrature.rules import NestedRule, gauss_patterson, weights_where_added

CROSSING = 0.2
"""A boundary layer's width is where L_j crosses this share of its largest value."""
GROUP_FACTOR = 8.0
"""Columns whose layer widths differ by less than about this factor share a grading."""
PROBE_STEP = 4.0
PROBES_AT_ONCE = 3
"""Distances measured in one forward pass: most paths need two or three, and passes cost more than rows."""
MAX_PROBES = 27
ZERO_LINEAR, ZERO_MIXED, ZERO_WIDE = 0.5, 0.02, 0.15
MEASURED_LINEAR = 0.12
STEEP = 1 / 64
"""Where attention may switch within less than this, seven nodes may see nothing of it: L is probed there."""
MIN_CUT = 1e-3
EVEN = 1e-2
"""The estimated error of entries may be ENTRY times the tolerance; from this tolerance on, where estimates are worse,
once; between them it may grow with the root."""
TRUST, TRUST_ALONE = 1.0, 2.0
"""K in K·D^1.5, the error expected of a rule that differs by D from the one before; with a witness, and without."""
SLOW = 0.25
"""Rules that differ by more than this share of how the two before them did are not yet converging."""
PIECE = 8.0
"""e-folds of a graded path that 31 nodes resolve."""


@dataclass(frozen=True)
class Adaptive:
    """Integrates each column to `rtol` of its total (of a thousandth of the largest L met, if that is more).

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

    @property
    def name(self) -> str:
        """The quadrature's name in the receipt."""
        return "adaptive_gauss_patterson"

    def integrate(self, integrand: Integrand) -> Attribution:
        """The contributions of every source to every column, each column certified on its own."""
        run = _Run(self, integrand)
        for grading, panels in _plan(run):
            run.solve(grading, panels)
        return run.result()


@dataclass
class _Panel:
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
    end_error: Tensor | None = None  # [columns]
    inner_error: Tensor | None = None
    entry_error: Tensor | None = None

    @property
    def width(self) -> float:
        return self.high - self.low

    def select(self, keep: Tensor) -> _Panel:
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
            end_error=pick(self.end_error),
            inner_error=pick(self.inner_error),
            entry_error=pick(self.entry_error),
        )


def entry_rtol(rtol: float) -> float:
    """The relative tolerance of the estimated error of entries: 3e-3 for the usual 1e-3, 1e-2 for 1e-2."""
    return max(rtol, min(ENTRY * rtol, math.sqrt(EVEN * rtol)))


class _Run:
    """One integration: tolerances, what is accepted so far, what each column has cost."""

    def __init__(self, rule: Adaptive, integrand: Integrand) -> None:
        self.rule, self.integrand = rule, integrand
        self.columns = torch.arange(integrand.num_columns)
        self.total = integrand.totals()
        self.largest = self.total.clone()
        self.floor = rounding_floor(integrand, self.total)
        shape = (integrand.num_columns, integrand.num_sources)
        self.values = torch.zeros(shape, dtype=torch.float64)
        self.end_error = torch.zeros_like(self.total)
        self.inner_error = torch.zeros_like(self.total)
        self.entry_error = torch.zeros_like(self.total)
        self.largest_sum = self.total.clone()  # of |entries|
        self.nodes = torch.zeros_like(self.columns)
        self.stuck = torch.zeros_like(self.columns, dtype=torch.bool)

    @property
    def tolerance(self) -> Tensor:
        """Absolute tolerance [columns]: rtol of the scale, but not below what rounding allows."""
        return torch.maximum(self.rule.rtol * scale_of(self.total, self.largest), self.floor)

    @property
    def entry_tolerance(self) -> Tensor:
        """The same for the estimated error of all entries together."""
        return torch.maximum(entry_rtol(self.rule.rtol) * self.entry_scale, ENTRY * self.floor)

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
        self.largest[columns] = torch.maximum(self.largest[columns], lengths)

    def error(self, end: Tensor, inner: Tensor) -> Tensor:
        return torch.maximum(end, inner / self.rule.strictness)

    def path(self, columns: Tensor, grading: Grading, pieces: int = 1) -> list[_Panel]:
        """The whole path of some columns, in pieces of equal length on the graded axis."""
        whole = _Panel(0.0, 1.0, columns, torch.zeros_like(self.total[columns]), self.total[columns])
        return self.panels([k / pieces for k in range(pieces + 1)], whole, grading)

    def panels(self, edges: list[float], panel: _Panel, grading: Grading) -> list[_Panel]:
        """A panel in parts, cut at all but the outer edges: with L at each, and what the witness grows by in each."""
        a, _ = grading(torch.tensor(edges, dtype=torch.float64))
        columns = panel.columns
        inside = self.integrand.lengths(a[1:-1], columns) if len(a) > 2 else ()
        lengths = [panel.at_low, *inside, panel.at_high]
        witnessed = self.integrand.witnessed
        growths = self.integrand.shares(a, columns).diff(dim=0) if witnessed else [None] * (len(a) - 1)
        level = 1 if self.integrand.opaque else 0  # nothing but comparing rules tells then: more nodes to compare
        return [
            _Panel(low, high, columns, before, after, level, growth=growth)
            for (low, high), (before, after), growth in zip(pairwise(edges), pairwise(lengths), growths, strict=True)
        ]

    def apply_next_rule(self, panel: _Panel, grading: Grading) -> None:
        """Evaluate the nodes that the next rule adds and compare with L at every node."""
        panel.level += 1
        rule = self.rule.rules[panel.level]
        t, shared = weights_where_added(self.rule.sizes, panel.level, first=panel.sums is None)
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
        errors = (rule.cumulative @ panel.slopes - grown).abs()
        panel.end_error, panel.inner_error = errors[-1], errors.amax(0)
        self.estimate_entries(panel)

    def estimate_entries(self, panel: _Panel) -> None:
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
        panel.entry_error, panel.change, panel.sums = expected * scale, change, panel.sums[1:]
        if panel.witness is not None and panel.growth is not None:
            panel.witness = panel.witness[1:]
            missed = (panel.witness[0] - panel.growth).abs().sum(-1)
            panel.entry_error = torch.maximum(panel.entry_error, missed)

    def accept(self, panel: _Panel, keep: Tensor) -> None:
        """Add a panel's current estimate to the result, for the columns marked."""
        if not keep.any():
            return
        done = panel.select(keep)
        assert done.sums is not None and done.end_error is not None and done.inner_error is not None
        assert done.entry_error is not None
        self.values[done.columns] += done.sums[0]
        self.end_error[done.columns] += done.end_error
        self.inner_error[done.columns] += done.inner_error
        self.entry_error[done.columns] += done.entry_error

    def solve(self, grading: Grading, active: list[_Panel]) -> None:
        """Refine panels, columns that fail only, until every column is certified or can go no further."""
        for panel in active:
            if panel.sums is None:
                self.apply_next_rule(panel, grading)
        accepted = torch.zeros_like(self.columns)
        while active:
            count, end, inner, entry = (
                x.clone() for x in (accepted, self.end_error, self.inner_error, self.entry_error)
            )
            for piece in active:
                assert piece.end_error is not None and piece.inner_error is not None and piece.entry_error is not None
                count[piece.columns] += 1
                end[piece.columns] += piece.end_error
                inner[piece.columns] += piece.inner_error
                entry[piece.columns] += piece.entry_error
            certified = (self.error(end, inner) <= self.tolerance) & (entry <= self.entry_tolerance)
            parts = 2 * count.clamp_min(1)
            share, entry_share = self.tolerance / parts, self.entry_tolerance / parts
            following: list[_Panel] = []
            for piece in active:
                c = piece.columns
                assert piece.end_error is not None and piece.inner_error is not None and piece.entry_error is not None
                excess = self.error(piece.end_error, piece.inner_error) > share[c]
                excess |= piece.entry_error > entry_share[c]
                refine = ~certified[c] & excess & (self.nodes[c] < self.rule.max_nodes)
                narrow = piece.level + 1 == len(self.rule.sizes) and piece.width < self.rule.min_width
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

    def refined(self, panel: _Panel, grading: Grading) -> list[_Panel]:
        """The panel ready for the next rule, or cut around the interval that its nodes resolve worst.

        Where that is, L tells; where L is right and entries are not, nothing does: the panel is halved.
        """
        if panel.level + 1 < len(self.rule.sizes):
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

    def is_of_entries(self, panel: _Panel) -> bool:
        """True if a panel fails by its entries more than by its sums."""
        assert panel.end_error is not None and panel.inner_error is not None and panel.entry_error is not None
        c, tiny = panel.columns, torch.finfo(self.total.dtype).tiny
        of_sums = self.error(panel.end_error, panel.inner_error) / self.tolerance[c].clamp_min(tiny)
        return bool((panel.entry_error / self.entry_tolerance[c].clamp_min(tiny)).max() > of_sums.max())

    def result(self) -> Attribution:
        still, dead = self.still, self.dead
        values = torch.where(still[:, None], 0.0, self.values)
        error = torch.where(still, self.total, self.error(self.end_error, self.inner_error))
        scale = scale_of(self.total, self.largest)
        entry_scale, room = self.entry_scale, 1 + 1e-9
        within_rtol = (error <= self.rule.rtol * scale * room) & (
            self.entry_error <= entry_rtol(self.rule.rtol) * entry_scale * room
        )
        reached = (error <= self.tolerance * room) & (self.entry_error <= self.entry_tolerance * room)
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
        entries = self.entry_error / entry_scale.clamp_min(tiny)
        return Attribution(
            values=values,
            total=self.total,
            completeness_error=torch.where(still, 0.0, completeness),
            entry_error=torch.where(still, 0.0, entries),
            nodes=self.nodes,
            converged=(within_rtol & ~still) | dead | is_hidden(error, self.floor, self.total, self.rule.rtol),
            status=tuple(status),
        )


def _plan(run: _Run) -> Iterator[tuple[Grading, list[_Panel]]]:
    """The gradings to use and the columns for each, by how the path starts."""
    if run.integrand.start == "measured":
        yield from _plan_measured(run)
        return
    widths = _probe(run, run.columns, from_end=False, first=1)
    run.look_at_still()
    alive = run.columns[~run.still]
    parts = run.integrand.parts(run.columns)
    if parts is not None and parts.widths is not None:
        widths = torch.minimum(widths, parts.widths)
    if parts is not None and parts.lengths is not None:
        widths = torch.minimum(widths, _probe_part(parts.lengths, run.columns))
    if run.integrand.start == "shared":
        yield from _plan_shared(run, alive, widths)
    else:
        yield from _plan_grouped(run, alive, widths)


def _plan_shared(run: _Run, alive: Tensor, widths: Tensor) -> Iterator[tuple[Grading, list[_Panel]]]:
    if len(alive) == 0:
        return
    narrowest = float(widths[alive].min())
    if narrowest >= ZERO_LINEAR:
        linear = torch.ones_like(alive, dtype=torch.bool)
    elif narrowest >= ZERO_MIXED:
        linear = widths[alive] >= ZERO_WIDE
    else:
        linear = torch.zeros_like(alive, dtype=torch.bool)
    pieces = math.ceil(math.asinh(1 / narrowest) / PIECE) if narrowest < ZERO_MIXED else 1
    for members, grading in ((alive[linear], Grading()), (alive[~linear], Grading(left=narrowest))):
        if len(members):
            yield grading, run.path(members, grading, pieces if grading != Grading() else 1)


def _plan_grouped(run: _Run, alive: Tensor, widths: Tensor) -> Iterator[tuple[Grading, list[_Panel]]]:
    snapped = torch.where(widths >= ZERO_LINEAR, 1.0, _snap(widths))
    for value in snapped[alive].unique().tolist():
        members = alive[snapped[alive] == value]
        grading = Grading(left=1.0 if value >= 1 else float(widths[members].log().mean().exp()))
        yield grading, run.path(members, grading)


def _plan_measured(run: _Run) -> Iterator[tuple[Grading, list[_Panel]]]:
    """Seven nodes without grading for all; where they do not suffice, widths read off the seven values of L."""
    (first,) = run.path(run.columns, Grading())
    run.apply_next_rule(first, Grading())
    assert first.end_error is not None and first.inner_error is not None and first.lengths is not None
    assert first.entry_error is not None
    probed = _probe_steep(run)
    done = run.error(first.end_error, first.inner_error) <= run.tolerance
    done &= (first.entry_error <= run.entry_tolerance) & (probed >= MEASURED_LINEAR)
    run.accept(first, done | run.still)
    rest = run.columns[~done & ~run.still]
    if len(rest) == 0:
        return
    lengths = first.lengths[:, rest]
    threshold = CROSSING * run.largest[rest]
    left, left_open = _crossing(first.t, lengths, threshold)
    back = (run.total[rest] - lengths).abs().flip(0)
    right, right_open = _crossing((1 - first.t).flip(0), back, threshold)
    for widths, unresolved, from_end in ((left, left_open, False), (right, right_open, True)):
        if unresolved.any():
            deeper = _probe(run, rest[unresolved], from_end=from_end, first=3)
            widths[unresolved] = torch.minimum(widths[unresolved], deeper)
    left = torch.minimum(left, probed[rest])
    left, right = (torch.where(w >= MEASURED_LINEAR, 1.0, _snap(w)) for w in (left, right))
    pairs = torch.stack([left, right], 1)
    for pair in pairs.unique(dim=0):
        members = rest[(pairs == pair).all(1)]
        grading = Grading(float(pair[0]), float(pair[1]))
        if grading == Grading():
            yield grading, [first.select(torch.isin(run.columns, members))]
        else:
            yield grading, run.path(members, grading)


def _probe_steep(run: _Run) -> Tensor:
    """Widths of the layer of L at a = 0 where attention may switch there, 1 elsewhere."""
    widths = torch.ones_like(run.total)
    parts = run.integrand.parts(run.columns)
    if parts is not None and parts.widths is not None and (steep := parts.widths < STEEP).any():
        nearest = float(parts.widths.min()) / PROBE_STEP**2
        widths[steep] = _probe(run, run.columns[steep], from_end=False, first=1, nearest=nearest)
    return widths


def _probe(run: _Run, columns: Tensor, *, from_end: bool, first: int, nearest: float = 1.0) -> Tensor:
    """Widths of the layer of L at a = 0 (or 1), looked for down to `nearest` at least."""

    def measure(distances: Tensor) -> Tensor:
        lengths = run.integrand.lengths(1 - distances if from_end else distances, columns)
        run.note_largest(columns, lengths.amax(0))
        return (run.total[columns] - lengths).abs() if from_end else lengths

    return _measured_widths(measure, run.total[columns], lambda: run.largest[columns], first, nearest)


def _probe_part(lengths: Callable[[Tensor, Tensor], Tensor], columns: Tensor) -> Tensor:
    """Widths of the layer of a part's length at a = 0."""
    end = lengths(torch.ones(1, dtype=torch.float64), columns)[0]
    largest = end.clone()

    def measure(distances: Tensor) -> Tensor:
        nonlocal largest
        here = lengths(distances, columns)
        largest = torch.maximum(largest, here.amax(0))
        return here

    return _measured_widths(measure, end, lambda: largest, first=1)


def _measured_widths(
    measure: Callable[[Tensor], Tensor], end: Tensor, largest: Callable[[], Tensor], first: int, nearest: float = 1.0
) -> Tensor:
    """Where lengths cross a share of their largest: measured at 4^-k, down to `nearest`, until each is small there."""
    exponents = torch.arange(first, first + MAX_PROBES, dtype=torch.float64)
    distances, rises = [], []
    for some in (PROBE_STEP**-exponents).split(PROBES_AT_ONCE):
        distances.append(some)
        rises.append(measure(some))
        if some[-1] <= nearest and (rises[-1][-1] <= CROSSING * largest()).all():
            break
    grid = torch.cat([torch.cat(distances).flip(0), torch.ones(1, dtype=torch.float64)])
    widths, _ = _crossing(grid, torch.cat([torch.cat(rises).flip(0), end[None]]), CROSSING * largest())
    return widths


def _crossing(grid: Tensor, lengths: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
    """The place where L [grid, columns] first reaches the threshold, interpolated log-log; whether it is above at once.

    1 where it never does.
    """
    above = lengths >= threshold
    index = above.to(torch.int8).argmax(0)
    never = ~above.any(0)
    before = (index - 1).clamp_min(0)
    tiny = torch.finfo(lengths.dtype).tiny
    log_grid, log_lengths = grid.log(), lengths.clamp_min(tiny).log()
    low, high = (log_lengths.gather(0, k[None])[0] for k in (before, index))
    share = ((threshold.clamp_min(tiny).log() - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    share = torch.where(index == 0, torch.ones_like(share), share)
    width = (log_grid[before] + share * (log_grid[index] - log_grid[before])).exp()
    return torch.where(never, torch.ones_like(width), width), (index == 0) & ~never


def _snap(widths: Tensor) -> Tensor:
    """Widths rounded to powers of the group factor."""
    step = torch.log(torch.tensor(GROUP_FACTOR, dtype=widths.dtype))
    return ((widths.clamp_max(1.0).log() / step).round() * step).exp()
