"""Attention along the path from the baseline to z, for many targets at once.

A path gives, at nodes a ∈ (0,1) and for target tokens j (`rows`), the head outputs o_j^h(a); and, once the
gradient c_j^h = ∂L_j/∂o_j^h is known, the rate at which every source i feeds every target through attention:

    rate_ij^h = A_ij [ c_j·v̇_i + (c_j·v_i − c_j·o_j) · (q_j·k̇_i) s g_ij ]
              + δ_ij Σ_m A_mj (c_j·v_m − c_j·o_j) · (q̇_j·k_m) s g_mj

with A_ij the attention weight of source i at target j, s the scale, g the soft-capping slope and a dot the
derivative along the path (LIG, arXiv 2606.21564, with the chain rule split at the head outputs). Tensors
are [nodes, heads, targets, sources].

For a vector c̃_j^h that stays fixed along the path, source i's direct share of c̃_j·o_j and its derivative are

    q_ij^h = A_ij c̃_j·v_i,     q̇_ij^h = A_ij [ c̃_j·v̇_i + c̃_j·v_i (ṡ_ij − Σ_m A_mj ṡ_mj) ],     Σ_i q_ij = c̃_j·o_j

with ṡ the whole derivative of the logits. Both sides of ∫ q̇ da = Δq are known without quadrature, source by source:
what a quadrature misses of it is a witness of what it misses of the rates, which change where q̇ changes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from lig_core.blocks.attention import repeat_groups
from lig_core.blocks.block import Block, Projections


@dataclass(frozen=True)
class Mixed:
    """Head outputs at some nodes and targets, and how a vector there becomes rates and shares of the sources.

    The functions take c like o (of one node, where it is the same at all) to [nodes, heads, targets, sources].
    """

    heads_out: Tensor  # o, [nodes, heads, targets, head_dim]
    rates: Callable[[Tensor], Tensor]  # of L, with c = ∂L/∂o
    shares: Callable[[Tensor], Tensor]  # q, of c·o
    share_rates: Callable[[Tensor], Tensor]  # q̇


class PathAt(Protocol):
    """A path at given nodes."""

    def attend(self, rows: Tensor) -> Mixed:
        """Attention for the target tokens `rows`."""
        ...


class Path(ABC):
    """The course of z and of attention's inputs as a runs from 0 to 1, for the chosen heads.

    `moving` says that the targets' own residual input moves too; `law` names the mechanism.
    """

    moving: ClassVar[bool]
    law: ClassVar[str]

    def __init__(self, block: Block, heads: Tensor) -> None:
        self.block, self.heads = block, heads
        self.num_heads = len(heads)

    @abstractmethod
    def at(self, a: Tensor) -> PathAt:
        """The path at nodes a, float64: [nodes], or [nodes, targets or tokens] of those whose paths are their own."""

    def attend(self, a: Tensor, rows: Tensor) -> Mixed:
        """Attention at nodes a, float64, for the target tokens `rows`: [nodes], or [nodes, targets] of their own."""
        return self.at(a).attend(rows)

    @abstractmethod
    def source_widths(self) -> Tensor | None:
        """a where each source's queries, keys and values bend near a = 0 [tokens]; None where no law says so."""

    @abstractmethod
    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """z at the target tokens themselves: [nodes, targets, hidden]."""


class ZeroPath(Path):
    """One path a·z, for all targets of a text."""

    moving = True

    @override
    def attend(self, a: Tensor, rows: Tensor) -> Mixed:
        return self.at(a if a.dim() == 1 else self._of_tokens(a, rows)).attend(rows)

    def _of_tokens(self, a: Tensor, rows: Tensor) -> Tensor:
        """Nodes of targets [nodes, targets], the same for those of one text, as nodes of all tokens of their texts."""
        text = self.block.call.texts
        if text is None:
            return a[:, :1]
        of_texts = a.new_ones(len(a), int(text[-1]) + 1)
        of_texts[:, text[rows]] = a
        return of_texts[:, text]

    def source_widths(self) -> Tensor | None:
        """a where each source's queries, keys and values bend [tokens]; None where no law says so."""
        return None

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """a·z_j."""
        z = self.block.z[rows].expand(len(a), -1, -1)
        return own_nodes(a, z) * z


class TargetPath(Path):
    """A path for each target, from its own token (ITB): z_j + a·(z_i − z_j) at source i."""

    moving = False

    def source_widths(self) -> Tensor | None:
        """Nothing bends there."""
        return None

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """z_j: the target itself does not move."""
        return self.block.z[rows].expand(len(a), -1, -1)


def for_heads(parts: Projections, heads: Tensor, num_heads: int) -> Projections:
    """Queries, keys and values of the chosen heads, groups repeated to heads."""
    query, key, value = (
        parts.query,
        repeat_groups(parts.key, num_heads),
        repeat_groups(parts.value, num_heads),
    )
    if len(heads) < num_heads:
        query, key, value = query[:, heads], key[:, heads], value[:, heads]
    return Projections(query, key, value)


def own_nodes(a: Tensor, like: Tensor) -> Tensor:
    """Nodes [nodes] or [nodes, targets] as factors of [nodes, targets, ...], typed as `like`."""
    a = a.to(like.dtype)
    return a.reshape(*a.shape, *(1,) * (like.dim() - a.dim()))


def take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """Target rows of [..., targets, sources], each as often as asked for; on the CPU, all in order as they are."""
    on_host = rows.device.type == "cpu"  # to look at others is to wait for them
    whole = on_host and len(rows) == x.shape[-2] and np.array_equal(rows.numpy(), np.arange(len(rows)))
    return x if whole else x.index_select(-2, rows)


def bias_rows(bias: Tensor | None, rows: Tensor) -> Tensor | None:
    """The logit bias of the chosen targets, [1, heads or 1, targets, sources]."""
    return bias if bias is None or bias.shape[-2] == 1 else take_rows(bias, rows)


def share_rates(weights: Tensor, value_part: Tensor, value_slope: Tensor, logit_slope: Tensor) -> Tensor:
    """q̇ = A [c·v̇ + c·v (ṡ − Σ_m A_m ṡ_m)] from A, c·v, c·v̇ and ṡ, all [nodes, heads, targets, sources]."""
    moved = logit_slope - (weights * logit_slope).sum(-1, keepdim=True)
    return moved.mul_(value_part).add_(value_slope).mul_(weights)


def add_own(rate: Tensor, rows: Tensor, own: Tensor) -> Tensor:
    """Add each target's own term [nodes, heads, targets] where source = target."""
    index = torch.arange(len(rows), device=rows.device)
    rate[:, :, index, rows] += own
    return rate


def without_self(rate: Tensor, rows: Tensor) -> Tensor:
    """The target itself does not move on its own path: its term is exactly zero."""
    return rate.scatter_(-1, rows.view(1, 1, -1, 1).expand(*rate.shape[:3], 1), 0.0)
