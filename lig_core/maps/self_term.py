"""Self terms for ITB maps. On its own path a target does not move, so its raw ITB self term is exactly 0.

The ratio corrections give it one and keep each column's sum (LIG, arXiv 2606.21564).
"""

from __future__ import annotations

import torch
from torch import Tensor


def zero_ratio(itb: Tensor, zero: Tensor, targets: Tensor) -> Tensor:
    """ITB-zeroRatio: the self share that the zero baseline sees, put into the ITB column.

        s = e_j · (Σ_{i≠j} c_i) / (Σ_{i≠j} e_i),   then the column is rescaled to its former sum

    itb (c) and zero (e): [columns, sources]; targets: each column's own token [columns].
    """
    own, rest = split_self(zero, targets)
    _, itb_rest = split_self(itb, targets)
    return with_self(itb, targets, own * _ratio(itb_rest, rest))


def map_ratio(itb: Tensor, self_weight: Tensor, targets: Tensor) -> Tensor:
    """ITB-mapRatio: the self share of the attention weight, put into the ITB column.

        s = (Σ_{i≠j} c_i) · α_jj / (1 − α_jj),   then the column is rescaled to its former sum

    self_weight: α_jj of each column [columns].
    """
    _, rest = split_self(itb, targets)
    return with_self(itb, targets, rest * _ratio(self_weight, 1 - self_weight))


def split_self(columns: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each column's self term and the sum of all others."""
    own = columns.gather(1, targets[:, None]).squeeze(1)
    return own, columns.sum(1) - own


def with_self(columns: Tensor, targets: Tensor, own: Tensor) -> Tensor:
    """Columns with `own` as self term, rescaled to their former sums."""
    former = columns.sum(1)
    filled = columns.scatter(1, targets[:, None], own[:, None])
    return filled * _ratio(former, filled.sum(1), otherwise=1.0)[:, None]


def _ratio(numerator: Tensor, denominator: Tensor, otherwise: float = 0.0) -> Tensor:
    safe = denominator.abs() > torch.finfo(denominator.dtype).tiny
    return torch.where(safe, numerator / torch.where(safe, denominator, 1.0), otherwise)
