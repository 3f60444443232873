"""Adaptive quadrature with a true certificate.

Set-to-set IG has a gift: Σ_i rate_ij(a) = dL_j/da, and L_j(a) is known at every node. So every panel of the
path can be checked exactly, not only at its end but at each node inside:

    e    = |∫ Σ_i rate_ij − ΔL_j|                        over the panel
    cum  = max_k |∫ from the panel's start to node k − ΔL_j|

End-point agreement alone can happen by accident; agreement at every node cannot, and costs nothing.

The path is graded where the mass sits (measured by forward passes: normalisation makes a zero-baseline path
nearly scale free, with boundary layers down to a ~ 1e-6), integrated by nested Gauss-Patterson rules
7 < 15 < 31 that reuse every node, and split around the worst interval when 31 nodes are not enough. Only
columns that fail are refined.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.integrand import Attribution, Integrand, Status, is_hidden, rounding_floor, scale_of
from lig_core.quadrature.rules import NestedRule, gauss_patterson

CROSSING = 0.2
"""A boundary layer's width is where L_j crosses this share of its largest value."""
GROUP_FACTOR = 8.0
"""Columns whose layer widths differ by less than about this factor share a grading."""
PROBE_STEP = 4.0
MAX_PROBES = 26
ZERO_LINEAR, ZERO_MIXED, ZERO_WIDE = 0.5, 0.02, 0.15
MEASURED_LINEAR = 0.12
MIN_CUT = 1e-3


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
    rules: tuple[NestedRule, ...] = field(default_factory=lambda: gauss_patterson(7, 15, 31), repr=False)

    @property
    def name(self) -> str:
        """The quadrature's name in the receipt."""
        return "adaptive_gauss_patterson"

    def integrate(self, integrand: Integrand) -> Attribution:
        """The contributions of every source to every column, each column certified on its own."""
        run = _Run(self, integrand)
        for grading, panel in _plan(run):
            run.solve(grading, panel)
        return run.result()


@dataclass
class _Panel:
    """A piece [low, high] of the graded path for some columns, with what is known of it so far."""

    low: float
    high: float
    columns: Tensor
    at_low: Tensor  # L at its ends, [columns]
    at_high: Tensor
    level: int = -1  # index of the last rule applied
    t: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))  # nodes in (0, 1) of the panel
    lengths: Tensor | None = None  # [nodes, columns]
    slopes: Tensor | None = None  # dL/dt per unit of the panel, [nodes, columns]
    sums: Tensor | None = None  # by rule, [rules, columns, sources]
    end_error: Tensor | None = None  # [columns]
    inner_error: Tensor | None = None

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
            end_error=pick(self.end_error),
            inner_error=pick(self.inner_error),
        )


class _Run:
    """One integration: tolerances, what is accepted so far, what each column has cost."""

    def __init__(self, rule: Adaptive, integrand: Integrand) -> None:
        self.rule, self.integrand = rule, integrand
        self.columns = torch.arange(integrand.num_columns)
        self.total = self.lengths_at(1.0, self.columns)
        self.largest = self.total.clone()
        self.floor = rounding_floor(integrand, self.total)
        shape = (integrand.num_columns, integrand.num_sources)
        self.values = torch.zeros(shape, dtype=torch.float64)
        self.end_error = torch.zeros_like(self.total)
        self.inner_error = torch.zeros_like(self.total)
        self.nodes = torch.zeros_like(self.columns)
        self.stuck = torch.zeros_like(self.columns, dtype=torch.bool)

    @property
    def tolerance(self) -> Tensor:
        """Absolute tolerance [columns]: rtol of the scale, but not below what rounding allows."""
        return torch.maximum(self.rule.rtol * scale_of(self.total, self.largest), self.floor)

    @property
    def still(self) -> Tensor:
        """Columns where nothing moves along the path."""
        return self.largest <= self.floor

    def lengths_at(self, a: float, columns: Tensor) -> Tensor:
        return self.integrand.lengths(torch.tensor([a], dtype=torch.float64), columns)[0]

    def note_largest(self, columns: Tensor, lengths: Tensor) -> None:
        self.largest[columns] = torch.maximum(self.largest[columns], lengths)

    def error(self, end: Tensor, inner: Tensor) -> Tensor:
        return torch.maximum(end, inner / self.rule.strictness)

    def whole_path(self, columns: Tensor) -> _Panel:
        return _Panel(0.0, 1.0, columns, torch.zeros_like(self.total[columns]), self.total[columns])

    def apply_next_rule(self, panel: _Panel, grading: Grading) -> None:
        """Evaluate the nodes that the next rule adds and compare with L at every node."""
        panel.level += 1
        rules = self.rule.rules
        rule = rules[panel.level]
        t = rule.nodes if panel.level == 0 else rule.nodes[rule.fresh]
        a, slope = grading(panel.low + panel.width * t)
        jacobian = slope * panel.width
        weights = torch.stack([_weights_at(finer, t) * jacobian for finer in rules[panel.level :]])
        sums = self.integrand.accumulate(a, panel.columns, weights)
        slopes = sums.slopes * jacobian[:, None]
        self.nodes[panel.columns] += len(t)
        self.note_largest(panel.columns, sums.lengths.amax(0))
        if panel.lengths is None or panel.slopes is None or panel.sums is None:
            panel.t, panel.lengths, panel.slopes, panel.sums = t, sums.lengths, slopes, sums.weighted
        else:
            panel.t, order = torch.cat([panel.t, t]).sort()
            panel.lengths = torch.cat([panel.lengths, sums.lengths])[order]
            panel.slopes = torch.cat([panel.slopes, slopes])[order]
            panel.sums = panel.sums[1:] + sums.weighted
        grown = torch.cat([panel.lengths, panel.at_high[None]]) - panel.at_low
        errors = (rule.cumulative @ panel.slopes - grown).abs()
        panel.end_error, panel.inner_error = errors[-1], errors.amax(0)

    def accept(self, panel: _Panel, keep: Tensor) -> None:
        """Add a panel's current estimate to the result, for the columns marked."""
        if not keep.any():
            return
        done = panel.select(keep)
        assert done.sums is not None and done.end_error is not None and done.inner_error is not None
        self.values[done.columns] += done.sums[0]
        self.end_error[done.columns] += done.end_error
        self.inner_error[done.columns] += done.inner_error

    def solve(self, grading: Grading, panel: _Panel) -> None:
        """Refine panels, columns that fail only, until every column is certified or can go no further."""
        if panel.level < 0:
            self.apply_next_rule(panel, grading)
        active = [panel]
        accepted = torch.zeros_like(self.columns)
        while active:
            count, end, inner = accepted.clone(), self.end_error.clone(), self.inner_error.clone()
            for piece in active:
                assert piece.end_error is not None and piece.inner_error is not None
                count[piece.columns] += 1
                end[piece.columns] += piece.end_error
                inner[piece.columns] += piece.inner_error
            certified = self.error(end, inner) <= self.tolerance
            share = self.tolerance / (2 * count.clamp_min(1))
            following: list[_Panel] = []
            for piece in active:
                c = piece.columns
                assert piece.end_error is not None and piece.inner_error is not None
                excess = self.error(piece.end_error, piece.inner_error) > share[c]
                refine = ~certified[c] & excess & (self.nodes[c] < self.rule.max_nodes)
                narrow = piece.level + 1 == len(self.rule.rules) and piece.width < self.rule.min_width
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
        """The panel ready for the next rule, or cut around the interval that its nodes resolve worst."""
        if panel.level + 1 < len(self.rule.rules):
            return [panel]
        assert panel.lengths is not None and panel.slopes is not None
        gaps = panel.t.diff()
        grown = panel.lengths.diff(dim=0)
        missed = (grown - gaps[:, None] * (panel.slopes[1:] + panel.slopes[:-1]) / 2).abs()
        missed = missed / missed.sum(0).clamp_min(torch.finfo(missed.dtype).tiny)
        worst = int(missed.mean(1).argmax())
        cuts = [float(panel.t[k]) for k in (worst, worst + 1) if 0 < k < len(panel.t) - 1]
        cuts = [t for t in cuts if MIN_CUT < t < 1 - MIN_CUT] or [0.5]
        edges = [panel.low + panel.width * t for t in cuts]
        a, _ = grading(torch.tensor(edges, dtype=torch.float64))
        between = [self.lengths_at(float(x), panel.columns) for x in a]
        ends = [panel.low, *edges, panel.high]
        lengths = [panel.at_low, *between, panel.at_high]
        return [_Panel(ends[k], ends[k + 1], panel.columns, lengths[k], lengths[k + 1]) for k in range(len(edges) + 1)]

    def result(self) -> Attribution:
        still = self.still
        values = torch.where(still[:, None], 0.0, self.values)
        error = self.error(self.end_error, self.inner_error)
        scale = scale_of(self.total, self.largest)
        within_rtol = error <= self.rule.rtol * scale * (1 + 1e-9)
        reached = error <= self.tolerance * (1 + 1e-9)
        status: list[Status] = []
        for dead, fine, rounding, stuck in zip(
            still.tolist(), within_rtol.tolist(), reached.tolist(), self.stuck.tolist(), strict=True
        ):
            if dead:
                status.append("zero_path")
            elif fine:
                status.append("ok")
            elif rounding:
                status.append("noise_limited")
            else:
                status.append("discontinuous" if stuck else "budget")
        completeness = (values.sum(-1) - self.total).abs() / scale.clamp_min(torch.finfo(scale.dtype).tiny)
        return Attribution(
            values=values,
            total=self.total,
            completeness_error=torch.where(still, 0.0, completeness),
            nodes=self.nodes,
            converged=within_rtol | still | is_hidden(error, self.floor, self.total, self.rule.rtol),
            status=tuple(status),
        )


def _plan(run: _Run) -> Iterator[tuple[Grading, _Panel]]:
    """The gradings to use and the columns for each, by how the path starts."""
    if run.integrand.start == "measured":
        yield from _plan_measured(run)
        return
    widths = _probe(run, run.columns, from_end=False, first=1)
    alive = run.columns[~run.still]
    if run.integrand.start == "shared":
        yield from _plan_shared(run, alive, widths)
    else:
        yield from _plan_grouped(run, alive, widths)


def _plan_shared(run: _Run, alive: Tensor, widths: Tensor) -> Iterator[tuple[Grading, _Panel]]:
    if len(alive) == 0:
        return
    narrowest = float(widths[alive].min())
    if narrowest >= ZERO_LINEAR:
        linear = torch.ones_like(alive, dtype=torch.bool)
    elif narrowest >= ZERO_MIXED:
        linear = widths[alive] >= ZERO_WIDE
    else:
        linear = torch.zeros_like(alive, dtype=torch.bool)
    for members, grading in ((alive[linear], Grading()), (alive[~linear], Grading(left=narrowest))):
        if len(members):
            yield grading, run.whole_path(members)


def _plan_grouped(run: _Run, alive: Tensor, widths: Tensor) -> Iterator[tuple[Grading, _Panel]]:
    snapped = torch.where(widths >= ZERO_LINEAR, 1.0, _snap(widths))
    for value in snapped[alive].unique().tolist():
        members = alive[snapped[alive] == value]
        width = 1.0 if value >= 1 else float(widths[members].log().mean().exp())
        yield Grading(left=width), run.whole_path(members)


def _plan_measured(run: _Run) -> Iterator[tuple[Grading, _Panel]]:
    """Seven nodes without grading for all; where they do not suffice, widths read off the seven values of L."""
    first = run.whole_path(run.columns)
    run.apply_next_rule(first, Grading())
    assert first.lengths is not None and first.end_error is not None and first.inner_error is not None
    fine = (run.error(first.end_error, first.inner_error) <= run.tolerance) | run.still
    run.accept(first, fine)
    rest = run.columns[~fine]
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
    left, right = (torch.where(w >= MEASURED_LINEAR, 1.0, _snap(w)) for w in (left, right))
    pairs = torch.stack([left, right], 1)
    for pair in pairs.unique(dim=0):
        members = rest[(pairs == pair).all(1)]
        grading = Grading(float(pair[0]), float(pair[1]))
        if grading == Grading():
            yield grading, first.select(torch.isin(run.columns, members))
        else:
            yield grading, run.whole_path(members)


def _probe(run: _Run, columns: Tensor, *, from_end: bool, first: int) -> Tensor:
    """Widths of the layer at a = 0 (or 1) by forward passes at distances 4^-k, until every L is small there."""
    distances, rises = [], []
    for k in range(first, first + MAX_PROBES):
        distance = PROBE_STEP**-k
        lengths = run.lengths_at(1 - distance if from_end else distance, columns)
        run.note_largest(columns, lengths)
        distances.append(distance)
        rises.append((run.total[columns] - lengths).abs() if from_end else lengths)
        if (rises[-1] < CROSSING * run.largest[columns]).all():
            break
    grid = torch.tensor([*distances[::-1], 1.0], dtype=torch.float64)
    widths, _ = _crossing(grid, torch.stack([*rises[::-1], run.total[columns]]), CROSSING * run.largest[columns])
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


def _weights_at(rule: NestedRule, t: Tensor) -> Tensor:
    """The weights that a rule gives to nodes it shares with a smaller one."""
    return rule.weights[torch.searchsorted(rule.nodes, t - 1e-12)]
