"""Composing z→u and u→z' into z→z', and comparing the result with the layer map (the L2 diagnostic)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.maps.integrators import HeadMap, LayerMap, MlpMap
from lig_core.maps.self_term import DOUBT


@dataclass(frozen=True)
class Comparison:
    """Per target: ‖layer − composed‖₂, the same over ‖layer‖₂, and Pearson's correlation; NaN where undefined."""

    distance: Tensor
    normalised: Tensor
    pearson: Tensor


@dataclass(frozen=True)
class Composition:
    """Both compositions [targets, sources], each compared with the layer map.

    `converged` [targets]: the maps that were composed, and the one compared with, all met their tolerance, and so does
    what is made of them (`doubt`).
    """

    product: Tensor
    conserving: Tensor
    product_comparison: Comparison
    conserving_comparison: Comparison
    converged: Tensor


def compose(layer: LayerMap, att: HeadMap, mlp: MlpMap, *, alone: Tensor | None, rtol: float) -> Composition:
    """Compose z→u of every head with u→z' per head.

    alone [targets]: targets that see no token but themselves, so that their heads stand still under ITB;
    None where that is not known of any. rtol: the tolerance of the maps.
    """
    assert mlp.per_head is not None
    whole = layer.attribution.values
    plain, conserved = product(att.values, mlp.per_head), conserving(att.values, mlp.per_head)
    heads_converged = att.attribution.converged.unflatten(0, (-1, len(att.heads))).all(-1)
    return Composition(
        product=plain,
        conserving=conserved,
        product_comparison=compare(whole, plain),
        conserving_comparison=compare(whole, conserved),
        converged=heads_converged
        & mlp.attribution.converged
        & layer.attribution.converged
        & (doubt(att, mlp.per_head, conserved, alone) <= DOUBT * rtol),
    )


def doubt(att: HeadMap, mlp: Tensor, conserved: Tensor, alone: Tensor | None) -> Tensor:
    """The part of each composed column whose way through the heads is not known [targets], at most.

        Σ_h min(1, e_h) |MLP[j, h]| / Σ_i |CONSERVING[i→j]|,   e_h = (error of ATT_h, by its certificate) / |Σ_i ATT_h|

    A column may be certified as too small to matter beside others, or as nothing but rounding, and yet its shares pass
    on all that its head gives (`conserving`): of such shares nothing is known.
    """
    columns = att.attribution
    sums, size = columns.values.sum(-1), columns.values.abs().sum(-1)
    entries = torch.nan_to_num(columns.entry_error, nan=0.0)  # a fixed rule makes no estimate
    missed = (sums - columns.total).abs()
    error = torch.maximum(missed, torch.maximum(entries, columns.completeness_error) * torch.maximum(size, sums.abs()))
    still = torch.tensor([status == "zero_path" for status in columns.status])
    tiny = torch.finfo(sums.dtype).tiny
    unknown = torch.where(still | (sums.abs() <= tiny), 1.0, error / sums.abs().clamp_min(tiny)).clamp_max(1.0)
    unknown = unknown.unflatten(0, (-1, len(att.heads)))
    if alone is not None:
        unknown = torch.where(alone[:, None], 0.0, unknown)
    lost = (unknown * mlp.abs()).sum(-1)
    return torch.where(lost > 0, lost / torch.maximum(conserved.abs().sum(-1), lost).clamp_min(tiny), 0.0)


def product(att: Tensor, mlp: Tensor) -> Tensor:
    """The paper's composition Σ_h ATT_h[i→j] · MLP[j, h].

    att [targets, heads, sources], mlp [targets, heads] → [targets, sources].
    """
    return torch.einsum("jhi,jh->ji", att, mlp)


def conserving(att: Tensor, mlp: Tensor) -> Tensor:
    """Σ_h (ATT_h[i→j] / Σ_i ATT_h[i→j]) · MLP[j, h]: columns sum to the MLP totals of the heads that moved.

    A head whose column sums to 0 (nothing moved) passes nothing on.
    """
    sums = att.sum(-1, keepdim=True)
    moved = sums.abs() > torch.finfo(att.dtype).tiny
    return product(torch.where(moved, att / torch.where(moved, sums, 1.0), 0.0), mlp)


def compare(layer: Tensor, composed: Tensor) -> Comparison:
    """The L2 diagnostic of two maps [targets, sources]; a zero or constant column has undefined entries."""
    distance = (layer - composed).norm(dim=-1)
    centred = [x - x.mean(-1, keepdim=True) for x in (layer, composed)]
    norms = centred[0].norm(dim=-1) * centred[1].norm(dim=-1)
    return Comparison(distance, distance / layer.norm(dim=-1), (centred[0] * centred[1]).sum(-1) / norms)
