"""Self terms for ITB maps. On its own path a target does not move, so its raw ITB self term is exactly 0.

The ratio corrections give it one and keep each column's sum (LIG, arXiv 2606.21564).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lig_core.quadrature import Attribution
from lig_core.result.arrays import DOUBT


def zero_ratio(itb: Tensor, zero: Tensor, targets: Tensor) -> Tensor:
    """ITB-zeroRatio: the self share that the zero baseline sees, put into the ITB column.

        s = e_j · (Σ_{i≠j} c_i) / (Σ_{i≠j} e_i),   then the column is rescaled to its former sum

    itb (c) and zero (e): [columns, sources]; targets: each column's own token [columns].
    """
    return with_self(itb, *split_self(zero, targets), targets)


def by_zero_ratio(itb: Attribution, zero: Attribution, targets: Tensor, rtol: float) -> Attribution:
    """The column of `zero_ratio` with a certificate of its own.

    With the self share σ = e_j / Σ_i e_i its entries are (1 − σ) c_i and σ Σ_i c_i, off by

        |1 − σ| E_c + |σ| |Σ_i c_i − L_c| + δσ (Σ_i |c_i| + |Σ_i c_i|)
        δσ = (E_e |e_j| / Σ_i |e_i| + |σ| |Σ_i e_i − L_e|) / |Σ_i e_i|

    with E the estimated errors of entries, spread by their sizes: where the zero column's entries cancel, little of σ
    is known.
    """
    values = zero_ratio(itb.values, zero.values, targets)
    own, rest = split_self(zero.values, targets)
    share = _ratio(own, own + rest)
    of_own = zero.entries_off * _ratio(own.abs(), zero.values.abs().sum(1))
    of_share = _ratio(of_own + share.abs() * zero.sums_off, (own + rest).abs())
    whole, size = itb.values.sum(1), itb.values.abs().sum(1)
    error = (1 - share).abs() * itb.entries_off + share.abs() * itb.sums_off
    return itb.joined(zero, values, error + of_share * (size + whole.abs()), DOUBT * rtol)


def map_ratio(itb: Tensor, own: Tensor, others: Tensor, targets: Tensor) -> Tensor:
    """ITB-mapRatio: the self share of the attention weight, put into the ITB column.

        s = (Σ_{i≠j} c_i) · α_jj / (1 − α_jj),   then the column is rescaled to its former sum

    own: α_jj of each column [columns]; others: 1 − α_jj.
    """
    return with_self(itb, own, others, targets)


def by_map_ratio(
    itb: Attribution, own: Tensor, others: Tensor, targets: Tensor, rtol: float, rounding: Tensor
) -> Attribution:
    """The column of `map_ratio` with a certificate of its own.

    Its entries, (1 − α) c_i and α Σ_i c_i, are off by

        (1 − α) E_c + α |Σ_i c_i − L_c| + α (1 − α) r (Σ_i |c_i| + |Σ_i c_i|)

    with E_c the estimated error of the ITB entries and r what rounding makes of a difference of logits [columns]. Where
    these cancel and the target sees itself alone, nothing but rounding is left.
    """
    values = map_ratio(itb.values, own, others, targets)
    whole, size = itb.values.sum(1), itb.values.abs().sum(1)
    error = others * itb.entries_off + own * itb.sums_off
    return itb.corrected(values, error + own * others * rounding * (size + whole.abs()), DOUBT * rtol)


def split_self(columns: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Each column's self term and the sum of all others."""
    own = columns.gather(1, targets[:, None]).squeeze(1)
    return own, columns.sum(1) - own


def with_self(columns: Tensor, own: Tensor, others: Tensor, targets: Tensor) -> Tensor:
    """Columns with a self term s in the ratio of own to others to what their sources add up to, rescaled to their sums.

        c_i · others / (own + others),   s = (Σ_{i≠j} c_i) · own / (own + others)

    This is finite where others vanish: all is the target's own then. Columns of no ratio (0 to 0) stay as they are.
    """
    _, rest = split_self(columns, targets)
    both = own + others
    kept = columns * _ratio(others, both, otherwise=1.0)[:, None]
    return kept.scatter(1, targets[:, None], (rest * _ratio(own, both))[:, None])


def _ratio(numerator: Tensor, denominator: Tensor, otherwise: float = 0.0) -> Tensor:
    safe = denominator.abs() > torch.finfo(denominator.dtype).tiny
    return torch.where(safe, numerator / torch.where(safe, denominator, 1.0), otherwise)
