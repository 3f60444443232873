"""Columns that rounding may have spoilt: what a quadrature cannot see, for it takes the rates as they come.

Where what moves along a path is small beside what stands still (a text of one word repeated, the massive activations
of trained decoders), differences are made of last digits. Such columns are integrated again in float64, or doubted.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lig_core.quadrature.integrand import Array, Attribution, Status, entry_rtol

SUSPECT = 6.0
"""Columns are looked at where the most that rounding is known to make of them is as many times the tolerance."""


def spoilt(found: Attribution, rounding: Array, rtol: float, still: Array | None) -> Array:
    """The columns to be looked at [columns]; not those that matter to no tolerance.

    still [columns]: columns on which nothing can move, whatever is seen; None where there are none.
    """
    doubtful: Array = rounding > SUSPECT * rtol
    if doubtful.any():
        status = np.array(found.status)
        doubtful &= (status != "noise_limited") | ~found.converged.numpy()
        if still is not None:
            doubtful &= (status != "zero_path") | ~still
    return doubtful


def replaced(found: Attribution, columns: Array, other: Attribution) -> Attribution:
    """What was found with some columns [columns] as in `other`, which has no more than these and is in float64.

    Nodes add up.
    """
    places = torch.from_numpy(np.flatnonzero(columns))

    def put(mine: Tensor, theirs: Tensor) -> Tensor:
        return mine.index_copy(0, places, theirs)

    status = list(found.status)
    for place, new in zip(places.tolist(), other.status, strict=True):
        status[place] = new
    return Attribution(
        values=put(found.values, other.values),
        total=put(found.total, other.total),
        largest_total=found.largest_total,
        completeness_error=put(found.completeness_error, other.completeness_error),
        entry_error=put(found.entry_error, other.entry_error),
        nodes=found.nodes.index_add(0, places, other.nodes),
        converged=put(found.converged, other.converged),
        status=tuple(status),
        in_float64=torch.from_numpy(columns),
    )


def blurred(found: Attribution, columns: Array, rounding: Array, rtol: float) -> Attribution:
    """What was found, some columns [columns] no more certain than rounding leaves them, which is relative to each.

    One that rounding may have made by more than its tolerance is known where that is nothing beside the largest total.
    """
    total, size = found.total.numpy(), found.values.abs().sum(-1).numpy()
    largest = found.largest_total.numpy()
    error = np.where(columns, rounding, 0.0)
    entry_error = found.entry_error.numpy() + error
    doubted = columns & ~(np.fmax(entry_error, error) <= entry_rtol(rtol))
    hidden = doubted & (error * np.maximum(total, size) <= entry_rtol(rtol) * largest)
    pairs = zip(found.status, doubted.tolist(), strict=True)
    status: tuple[Status, ...] = tuple("noise_limited" if doubt else status for status, doubt in pairs)
    return replace(
        found,
        entry_error=torch.from_numpy(np.where(hidden, np.minimum(entry_error, 1.0), entry_error)),
        converged=found.converged & torch.from_numpy(hidden | ~doubted),
        status=status,
    )
