"""Composing z→u and u→z' into z→z', and comparing the result with the layer map (the L2 diagnostic)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.maps.integrators import HeadMap, LayerMap, MlpMap


@dataclass(frozen=True)
class Comparison:
    """Per target: ‖layer − composed‖₂, the same over ‖layer‖₂, and Pearson's correlation; NaN where undefined."""

    distance: Tensor
    normalised: Tensor
    pearson: Tensor


@dataclass(frozen=True)
class Composition:
    """Both compositions [targets, sources], each compared with the layer map.

    `converged` [targets]: the maps that were composed, and the one compared with, all met their tolerance.
    """

    product: Tensor
    conserving: Tensor
    product_comparison: Comparison
    conserving_comparison: Comparison
    converged: Tensor


def compose(layer: LayerMap, att: HeadMap, mlp: MlpMap) -> Composition:
    """Compose z→u of every head with u→z' per head."""
    assert mlp.per_head is not None
    whole = layer.attribution.values
    plain, conserved = product(att.values, mlp.per_head), conserving(att.values, mlp.per_head)
    heads_converged = att.attribution.converged.unflatten(0, (-1, len(att.heads))).all(-1)
    return Composition(
        product=plain,
        conserving=conserved,
        product_comparison=compare(whole, plain),
        conserving_comparison=compare(whole, conserved),
        converged=heads_converged & mlp.attribution.converged & layer.attribution.converged,
    )


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
