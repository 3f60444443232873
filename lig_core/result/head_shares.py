"""Shares of what a head gives: its column over its sum, where that sum is known."""

from __future__ import annotations

import numpy as np

from lig_core.result.arrays import NEGLIGIBLE, STATUSES, Array

UNKNOWN = tuple(STATUSES.index(status) for status in ("zero_path", "noise_limited"))
"""Of such a column no more is known than that its sum is about 0, as it is of a head whose contributions cancel."""
DOUBT = 10.0
"""Of what is made of columns, this many times their tolerance may be off or not known: 1 % for the usual 1e-3."""
TINY = float(np.finfo(np.float64).tiny)


def head_shares(values: Array, total: Array, entry_error: Array, status: Array) -> tuple[Array, Array]:
    """ATT_h[i→j] / Σ_i ATT_h[i→j] [..., source], and the error of each such column, relative to Σ_i |share| [...].

    values [..., source], and its certificate [...]. A head whose sum is not known passes nothing on: its shares are 0,
    their error 1. Elsewhere the error is that of the sum, which divides, and that of the entries, together.
    """
    sums, size = values.sum(-1), np.abs(values).sum(-1)
    known = ~np.isin(status, UNKNOWN) & (np.abs(sums) > TINY)
    shares = np.where(known[..., None], values / np.where(known, sums, 1.0)[..., None], 0.0)
    entries = np.nan_to_num(entry_error) * np.maximum(size, NEGLIGIBLE * total.max())  # a fixed rule makes no estimate
    error = np.abs(sums - total) / np.maximum(np.abs(sums), TINY) + entries / np.maximum(size, TINY)
    return shares, np.where(known, np.minimum(error, 1.0), 1.0)
