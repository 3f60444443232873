"""Planning: which grading each column's path gets, measured by forward passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from lig_core.quadrature.grading import Grading
from lig_core.quadrature.integrand import TINY, Array, Parts
from lig_core.quadrature.refinement import Panel, Refinement

CROSSING = 0.2
"""A boundary layer is seen where L_j crosses this share of its largest value."""
WIDER = 2.0
"""From zero a path is graded by this many times that place: where L rises as a/√(a² + δ²) it is at δ/4.9, and a sinh
that is to resolve it wants δ. Fewest nodes were measured at 2 to 3; what rises otherwise is better at 2."""
GROUP_FACTOR = 8.0
"""Columns whose layer widths differ by less than about this factor share a grading."""
PROBE_STEP = 4.0
PROBES_AT_ONCE = 3
"""Distances measured in one forward pass: most paths need two or three, and passes cost more than rows."""
MAX_PROBES = 27
ZERO_LINEAR, ZERO_MIXED, ZERO_WIDE = 0.5, 0.02, 0.15
MEASURED_LINEAR = 0.12
STEEP = 1 / 64
"""Where attention may switch within less than this, seven nodes may see nothing of it: L is probed there, and paths are
begun in `SWITCHING` pieces."""
SUDDEN = 1 / 512
"""Where it may switch within less than this, it may switch and back between two nodes: L is followed all along."""
SWITCHING = 8
"""Pieces of such a path. What a switch gives to two sources may cancel in L, and be a hundred times what the witness
shows of it: rates have the slopes of key and query each, L and the witness their small sum."""
FOLLOWED = 128
"""Steps in which L is followed."""
PIECE = 8.0
"""e-folds of a graded path that 31 nodes resolve."""


def plan(run: Refinement) -> Iterator[Panel]:
    """The panels to begin with, graded by how the path starts."""
    if run.integrand.start == "measured":
        yield from _plan_measured(run)
        return
    widths = _probe(run, run.columns, from_end=False, first=1)
    run.look_at_still()
    alive = run.columns[~run.still]
    parts = run.integrand.parts(torch.from_numpy(run.columns))
    if parts is not None and parts.lengths is not None:
        widths = np.minimum(widths, _probe_part(parts, run.columns))
    widths = np.minimum(WIDER * widths, 1.0)
    if parts is not None and parts.widths is not None:
        widths = np.minimum(widths, parts.widths.numpy())
    shared = run.integrand.start == "shared"
    planned = _plan_shared(run, alive, widths, _switches(run, parts)) if shared else _plan_grouped(run, alive, widths)
    for panel in planned:
        if not run.integrand.routed:
            yield panel
            continue
        smooth = np.ones_like(panel.columns, dtype=np.bool_)
        for part in _cut_at_jumps(run, panel):
            smooth &= ~np.isin(panel.columns, part.columns)
            yield part
        if smooth.any():
            yield panel.select(smooth)


def _plan_shared(run: Refinement, alive: Array, widths: Array, switches: Array) -> Iterator[Panel]:
    if len(alive) == 0:
        return
    steep = run.columns[switches < STEEP]
    narrowest = float(widths[alive].min())
    if narrowest >= ZERO_LINEAR:
        linear = np.ones_like(alive, dtype=np.bool_)
    elif narrowest >= ZERO_MIXED:
        linear = widths[alive] >= ZERO_WIDE
    else:
        linear = np.zeros_like(alive, dtype=np.bool_)
    pieces = math.ceil(math.asinh(1 / narrowest) / PIECE) if narrowest < ZERO_MIXED else 1
    for members, grading in ((alive[linear], Grading()), (alive[~linear], Grading(left=narrowest))):
        for some, least in ((np.setdiff1d(members, steep), 1), (np.intersect1d(members, steep), SWITCHING)):
            if len(some):
                yield from run.path(some, grading, max(least, pieces if grading != Grading() else 1))


def _plan_grouped(run: Refinement, alive: Array, widths: Array) -> Iterator[Panel]:
    snapped = np.where(widths >= ZERO_LINEAR, 1.0, _snap(widths))
    for value in np.unique(snapped[alive]).tolist():
        members = alive[snapped[alive] == value]
        grading = Grading(left=1.0 if value >= 1 else math.exp(np.log(widths[members]).mean()))
        yield from run.path(members, grading)


def _plan_measured(run: Refinement) -> Iterator[Panel]:
    """Seven nodes without grading for all; where they do not suffice, widths read off the seven values of L."""
    (first,) = run.path(run.columns, Grading())
    run.apply_next_rule([first])
    assert first.errors is not None and first.lengths is not None
    switches = _switches(run, run.integrand.parts(torch.from_numpy(run.columns)))
    probed, jumping, steep = _probe_steep(run, switches), np.zeros_like(run.still), switches < STEEP
    suspects = run.columns if run.integrand.routed else run.columns[switches < SUDDEN]
    if len(suspects):
        for part in _cut_at_jumps(run, run.path(suspects, Grading())[0]):
            jumping[part.columns] = True
            yield part
    done = run.certified(first.errors, run.columns) & (probed >= MEASURED_LINEAR) & ~jumping & ~steep
    run.accept(first, done | (run.still & ~jumping))
    rest = run.columns[~done & ~run.still & ~jumping]
    if len(rest) == 0:
        return
    lengths = first.lengths[:, rest]
    threshold = CROSSING * run.largest[rest]
    left, left_open = crossing(first.t, lengths, threshold)
    back = np.abs(run.total[rest] - lengths)[::-1]
    right, right_open = crossing((1 - first.t)[::-1], back, threshold)
    for widths, unresolved, from_end in ((left, left_open, False), (right, right_open, True)):
        if unresolved.any():
            deeper = _probe(run, rest[unresolved], from_end=from_end, first=3)
            widths[unresolved] = np.minimum(widths[unresolved], deeper)
    left = np.minimum(left, probed[rest])
    left, right = (np.where(w >= MEASURED_LINEAR, 1.0, _snap(w)) for w in (left, right))
    kinds = np.stack([left, right, steep[rest]], 1)
    for kind in np.unique(kinds, axis=0):
        members = rest[(kinds == kind).all(1)]
        grading = Grading(float(kind[0]), float(kind[1]))
        if kind[2]:
            yield from run.path(members, grading, SWITCHING)
        elif grading == Grading():
            yield first.select(np.isin(run.columns, members))
        else:
            yield from run.path(members, grading)


def _switches(run: Refinement, parts: Parts | None) -> Array:
    """The a within which attention may switch [columns], 1 where it does not."""
    return np.ones_like(run.total) if parts is None or parts.switches is None else parts.switches.numpy()


def _probe_steep(run: Refinement, switches: Array) -> Array:
    """Widths of the layer of L at a = 0 where attention may switch there, 1 elsewhere."""
    widths = np.ones_like(run.total)
    if (steep := switches < STEEP).any():
        nearest = float(switches.min()) / PROBE_STEP**2
        widths[steep] = _probe(run, run.columns[steep], from_end=False, first=1, nearest=nearest)
    return widths


def _cut_at_jumps(run: Refinement, panel: Panel) -> Iterator[Panel]:
    """The parts of a panel between the jumps of L, for the columns that have some, alike ones together.

    Attention that turns to another source and back, or a token that goes to another expert and back, leaves everything
    between as it was: L, and the witness.
    """
    columns = panel.columns
    grid = np.linspace(panel.low, panel.high, FOLLOWED + 1)
    inside = run.lengths(panel.grading(grid[1:-1])[0], columns)
    run.note_largest(columns, inside.max(0))
    lengths = np.concatenate([panel.at_low[None], inside, panel.at_high[None]])
    bent = np.abs(np.diff(lengths, 2, axis=0)) > run.entry_tolerance[columns]
    cut = np.zeros_like(lengths, dtype=np.bool_)
    cut[:-2] |= bent
    cut[2:] |= bent
    cut[[0, -1]] = True
    patterns, of_column = np.unique(cut, axis=1, return_inverse=True)
    for k, pattern in enumerate(patterns.T):
        if pattern[1:-1].any():
            yield from run.panels(grid[pattern].tolist(), panel.select(of_column.ravel() == k))


def _probe(run: Refinement, columns: Array, *, from_end: bool, first: int, nearest: float = 1.0) -> Array:
    """Widths of the layer of L at a = 0 (or 1), looked for down to `nearest` at least."""

    def measure(distances: Array) -> Array:
        lengths = run.lengths(1 - distances if from_end else distances, columns)
        run.note_largest(columns, lengths.max(0))
        return np.abs(run.total[columns] - lengths) if from_end else lengths

    return _measured_widths(measure, run.total[columns], lambda: run.largest[columns], first, nearest)


def _probe_part(parts: Parts, columns: Array) -> Array:
    """Widths of the layer of a part's length at a = 0."""

    def lengths(a: Array) -> Array:
        assert parts.lengths is not None
        return parts.lengths(torch.from_numpy(a), torch.from_numpy(columns)).numpy()

    largest = end = lengths(np.ones(1))[0]

    def measure(distances: Array) -> Array:
        nonlocal largest
        here = lengths(distances)
        largest = np.maximum(largest, here.max(0))
        return here

    return _measured_widths(measure, end, lambda: largest, first=1)


def _measured_widths(
    measure: Callable[[Array], Array], end: Array, largest: Callable[[], Array], first: int, nearest: float = 1.0
) -> Array:
    """Where lengths cross a share of their largest: measured at 4^-k, down to `nearest`, until each is small there."""
    exponents = np.arange(first, first + MAX_PROBES, dtype=np.float64)
    grid, lengths = np.ones(1), end[None]
    for some in np.split(PROBE_STEP**-exponents, range(PROBES_AT_ONCE, MAX_PROBES, PROBES_AT_ONCE)):
        rises = measure(some)
        grid, lengths = np.concatenate([some[::-1], grid]), np.concatenate([rises[::-1], lengths])
        if some[-1] <= nearest and (rises[-1] <= CROSSING * largest()).all():
            break
    widths, _ = crossing(grid, lengths, CROSSING * largest())
    return widths


def crossing(grid: Array, lengths: Array, threshold: Array) -> tuple[Array, Array]:
    """The place where L [grid, columns] first reaches the threshold, interpolated log-log; whether it is above at once.

    1 where it never does.
    """
    above = lengths >= threshold
    index = above.argmax(0)
    never = ~above.any(0)
    before = np.maximum(index - 1, 0)
    log_grid, log_lengths = np.log(grid), np.log(np.maximum(lengths, TINY))
    low, high = (np.take_along_axis(log_lengths, k[None], 0)[0] for k in (before, index))
    share = ((np.log(np.maximum(threshold, TINY)) - low) / np.maximum(high - low, 1e-12)).clip(0, 1)
    share = np.where(index == 0, 1.0, share)
    width = np.exp(log_grid[before] + share * (log_grid[index] - log_grid[before]))
    return np.where(never, 1.0, width), (index == 0) & ~never


def _snap(widths: Array) -> Array:
    """Widths rounded to powers of the group factor."""
    step = math.log(GROUP_FACTOR)
    snapped: Array = np.exp(np.round(np.log(np.minimum(widths, 1.0)) / step) * step)
    return snapped
