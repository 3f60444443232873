"""Planning: which grading each column's path gets, measured by forward passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.refinement import Panel, Refinement

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
PIECE = 8.0
"""e-folds of a graded path that 31 nodes resolve."""


def plan(run: Refinement) -> Iterator[tuple[Grading, list[Panel]]]:
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


def _plan_shared(run: Refinement, alive: Tensor, widths: Tensor) -> Iterator[tuple[Grading, list[Panel]]]:
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


def _plan_grouped(run: Refinement, alive: Tensor, widths: Tensor) -> Iterator[tuple[Grading, list[Panel]]]:
    snapped = torch.where(widths >= ZERO_LINEAR, 1.0, _snap(widths))
    for value in snapped[alive].unique().tolist():
        members = alive[snapped[alive] == value]
        grading = Grading(left=1.0 if value >= 1 else float(widths[members].log().mean().exp()))
        yield grading, run.path(members, grading)


def _plan_measured(run: Refinement) -> Iterator[tuple[Grading, list[Panel]]]:
    """Seven nodes without grading for all; where they do not suffice, widths read off the seven values of L."""
    (first,) = run.path(run.columns, Grading())
    run.apply_next_rule(first, Grading())
    assert first.errors is not None and first.lengths is not None
    probed = _probe_steep(run)
    done = run.certified(first.errors, run.columns) & (probed >= MEASURED_LINEAR)
    run.accept(first, done | run.still)
    rest = run.columns[~done & ~run.still]
    if len(rest) == 0:
        return
    lengths = first.lengths[:, rest]
    threshold = CROSSING * run.largest[rest]
    left, left_open = crossing(first.t, lengths, threshold)
    back = (run.total[rest] - lengths).abs().flip(0)
    right, right_open = crossing((1 - first.t).flip(0), back, threshold)
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


def _probe_steep(run: Refinement) -> Tensor:
    """Widths of the layer of L at a = 0 where attention may switch there, 1 elsewhere."""
    widths = torch.ones_like(run.total)
    parts = run.integrand.parts(run.columns)
    if parts is not None and parts.widths is not None and (steep := parts.widths < STEEP).any():
        nearest = float(parts.widths.min()) / PROBE_STEP**2
        widths[steep] = _probe(run, run.columns[steep], from_end=False, first=1, nearest=nearest)
    return widths


def _probe(run: Refinement, columns: Tensor, *, from_end: bool, first: int, nearest: float = 1.0) -> Tensor:
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
    widths, _ = crossing(grid, torch.cat([torch.cat(rises).flip(0), end[None]]), CROSSING * largest())
    return widths


def crossing(grid: Tensor, lengths: Tensor, threshold: Tensor) -> tuple[Tensor, Tensor]:
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
