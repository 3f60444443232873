"""Composing z→u and u→z' into z→z', and comparing the result with the layer map (the L2 diagnostic)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lig_core.maps.integrated import HeadMap, LayerMap, MlpMap
from lig_core.quadrature import Attribution
from lig_core.result.arrays import DOUBT, Array, codes, head_shares


@dataclass(frozen=True)
class Comparison:
    """Per target: ‖layer − composed‖₂, the same over ‖layer‖₂, and Pearson's correlation; NaN where undefined."""

    distance: Tensor
    normalised: Tensor
    pearson: Tensor


@dataclass(frozen=True)
class Composition:
    """Both compositions [targets, sources], each compared with the layer map.

    `known` [targets]: heads whose sums are not known, and which pass nothing on in `conserving`, would pass no more on
    than DOUBT · rtol of its column; it says little otherwise. `converged` [targets]: the maps that were composed, and
    the one compared with, all met their tolerance, and what dividing magnifies of their errors in `conserving`, and the
    noise of such heads in `product`, are no more than that.
    """

    product: Tensor
    conserving: Tensor
    product_comparison: Comparison
    conserving_comparison: Comparison
    known: Tensor
    converged: Tensor


def compose(layer: LayerMap, att: HeadMap, mlp: MlpMap, *, alone: Tensor | None, rtol: float) -> Composition:
    """Compose z→u of every head with u→z' per head.

        product      Σ_h ATT_h[i→j] · MLP[j, h], the paper's
        conserving   Σ_h s_h[i→j] · MLP[j, h],  s_h = ATT_h[i→j] / Σ_i ATT_h[i→j], 0 of a head whose sum is not known

    alone [targets]: targets that see no token but themselves, so that their heads stand still under ITB;
    None where that is not known of any. rtol: the tolerance of the maps.
    """
    assert mlp.per_head is not None
    whole, columns = layer.attribution.values, att.attribution
    certificate = (columns.total.numpy(), columns.entry_error.numpy(), codes(columns.status))
    shares, errors = (_by_head(x, att) for x in head_shares(columns.values.numpy(), *certificate))
    plain, conserved = product(att.values, mlp.per_head), product(torch.from_numpy(shares), mlp.per_head)
    passing = (shares != 0).any(-1)
    passed = np.abs(mlp.per_head.numpy())
    most, most_plain = (DOUBT * rtol * np.abs(values.numpy()).sum(-1) for values in (conserved, plain))
    withholding = ~passing if alone is None else ~passing & ~alone.numpy()[:, None]
    withheld = np.where(withholding, passed, 0.0).sum(-1)
    noise = np.where(passing, 0.0, _by_head(_off(columns), att) * passed).sum(-1)
    within = (_magnified(shares, errors, mlp) <= most) & (noise <= most_plain)
    converged = columns.converged.unflatten(0, (-1, len(att.heads))).all(-1)
    return Composition(
        product=plain,
        conserving=conserved,
        product_comparison=compare(whole, plain),
        conserving_comparison=compare(whole, conserved),
        known=torch.from_numpy(withheld <= most),
        converged=converged & mlp.attribution.converged & layer.attribution.converged & torch.from_numpy(within),
    )


def _by_head(columns: Array, att: HeadMap) -> Array:
    """[columns, …] → [targets, heads, …]."""
    return columns.reshape(-1, len(att.heads), *columns.shape[1:])


def _off(columns: Attribution) -> Array:
    """What columns may be off by, all entries together [columns]."""
    off: Array = columns.sums_off.numpy() + np.nan_to_num(columns.entries_off.numpy())
    return off


def _magnified(shares: Array, errors: Array, mlp: MlpMap) -> Array:
    """What a conserving column may be off by, all entries together [targets].

        Σ_h e_h r_h |MLP[j, h]| + (r_h − 1) E_h

    r_h = Σ_i |s_h| is large where a head's contributions cancel; e_h: the relative error of its shares; E_h: its part
    of the error of MLP's entries, by their sizes.
    """
    assert mlp.per_head is not None
    reach, sizes = np.abs(shares).sum(-1), np.abs(mlp.attribution.values.numpy())
    of_head = sizes.reshape(*reach.shape, -1).sum(-1) * np.nan_to_num(mlp.attribution.entry_error.numpy())[:, None]
    off: Array = errors * reach * np.abs(mlp.per_head.numpy()) + np.maximum(reach - 1, 0) * of_head
    return off.sum(-1)


def product(att: Tensor, mlp: Tensor) -> Tensor:
    """The paper's composition Σ_h ATT_h[i→j] · MLP[j, h].

    att [targets, heads, sources], mlp [targets, heads] → [targets, sources].
    """
    return torch.einsum("jhi,jh->ji", att, mlp)


def compare(layer: Tensor, composed: Tensor) -> Comparison:
    """The L2 diagnostic of two maps [targets, sources]; a zero or constant column has undefined entries."""
    distance = (layer - composed).norm(dim=-1)
    centred = [x - x.mean(-1, keepdim=True) for x in (layer, composed)]
    norms = centred[0].norm(dim=-1) * centred[1].norm(dim=-1)
    return Comparison(distance, distance / layer.norm(dim=-1), (centred[0] * centred[1]).sum(-1) / norms)
