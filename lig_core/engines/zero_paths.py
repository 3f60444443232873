"""Paths from the zero baseline: one path a·z serves all targets.

ScaledPath   q, k, v = x⁰ + λ(a)·(x¹ − x⁰), a scalar per token: no projections at the nodes
TangentPath  q, k, v and their tangents by forward-mode replays: any block
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.blocks.attention import AttentionCall, probabilities
from lig_core.blocks.block import Block, Projections, relative_error
from lig_core.blocks.laws import LAW_TOLERANCE, NormLaw, PathLaws
from lig_core.engines.pairwise import PairwisePath
from lig_core.engines.path import Mixed, Path, PathAt, ZeroPath, add_own, bias_rows, for_heads, own_nodes, share_rates


def zero_path(block: Block, laws: PathLaws | None, heads: Tensor) -> Path:
    """The path a·z, by scalars per token where the block has such laws, else by forward-mode replays."""
    if block.attention.pairwise:
        return PairwisePath(block, heads)
    if laws is not None and laws.shared:
        path = ScaledPath(block, laws.norm, heads)
        if path.matches_replay():
            return path
    return TangentPath(block, heads)


class ScaledPath(ZeroPath):
    """Zero baseline under a norm law: x(a) = x⁰ + λ_i(a) (x¹ − x⁰), λ = a·σ(1)/σ(a), for x = q, k, v."""

    law = "scaled"

    def __init__(self, block: Block, norm: NormLaw, heads: Tensor) -> None:
        super().__init__(block, heads)
        self._norm = norm
        zero = block.project(torch.zeros_like(block.z)[None])
        self.start = for_heads(zero, heads, block.num_heads)
        end = for_heads(block.projections, heads, block.num_heads)
        self.step = Projections(*(x1 - x0 for x1, x0 in zip(end, self.start, strict=True)))
        self._mean_square = norm.mean_square(block.z)  # [tokens]
        # A key offset that is the same at every source shifts a target's logits alike: softmax does not see it.
        self.call = call = block.attention.of_heads(heads)
        constant = torch.equal(self.start.key, self.start.key[:, :, :1].expand_as(self.start.key))
        self.key_offset = bool((not constant or call.softcap or call.sinks is not None) and self.start.key.any())
        self.value_offset = self.start.value[:, :, :1]  # biases: the same at every token

    def matches_replay(self) -> bool:
        """True if q, k and v at one point of the path, where σ is about to change, agree with a replay."""
        z, norm = self.block.z, self._norm
        a = 0.3 if norm.kind == "none" else float((norm.eps / self._mean_square.median()).sqrt().clamp(1e-6, 0.9))
        scale, _ = self._scales(torch.tensor([a], dtype=torch.float64, device=z.device))
        projected = for_heads(self.block.project(a * z[None]), self.heads, self.block.num_heads)
        tolerance = 50 * LAW_TOLERANCE[z.dtype]
        law = (x0 + scale[:, None, :, None] * dx for x0, dx in zip(self.start, self.step, strict=True))
        same_offset = relative_error(self.value_offset.expand_as(self.start.value), self.start.value) < tolerance
        return same_offset and all(relative_error(x, y) < tolerance for x, y in zip(law, projected, strict=True))

    def _scales(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """λ and dλ/da [nodes, tokens]."""
        dtype, nodes = self.block.z.dtype, a if a.dim() == 2 else a[:, None]
        if self._norm.kind == "none":
            ones = torch.ones(len(a), self.block.num_tokens, dtype=dtype, device=a.device)
            return nodes.to(dtype) * ones, ones
        square, eps = self._mean_square.double(), self._norm.eps
        end, here = (square + eps).sqrt(), (nodes**2 * square + eps).sqrt()
        return (nodes * end / here).to(dtype), (end * eps / here**3).to(dtype)

    def source_widths(self) -> Tensor:
        """√(ε/mean square) [tokens]; 1 without a norm."""
        if self._norm.kind == "none":
            return torch.ones_like(self._mean_square)
        return (self._norm.eps / self._mean_square.clamp_min(self._norm.eps)).sqrt()

    def at(self, a: Tensor) -> PathAt:
        """λ and dλ/da at the nodes."""
        return _ScaledAt(self, *self._scales(a))


@dataclass(frozen=True)
class _ScaledAt:
    path: ScaledPath
    scale: Tensor  # λ, [nodes, tokens]
    slope: Tensor  # dλ/da

    def attend(self, rows: Tensor) -> Mixed:
        path = self.path
        call = path.call
        start, step = path.start, path.step
        scale, slope = self.scale[:, None, None, :], self.slope[:, None, None, :]  # at the sources
        scale_j, slope_j = (x[:, None, rows, None] for x in (self.scale, self.slope))
        # q_j·(k_i¹ − k_i⁰) s is affine in λ_j; the nodes share both parts
        moving_keys = step.key.transpose(-1, -2) * call.scale
        pulled = step.query[:, :, rows] @ moving_keys
        products = torch.addcmul(start.query[:, :, rows] @ moving_keys, scale_j, pulled)
        logits, pull = products * scale, pulled * scale
        if path.key_offset:
            still_keys = start.key.transpose(-1, -2) * call.scale
            offset_pull = step.query[:, :, rows] @ still_keys
            logits += start.query[:, :, rows] @ still_keys + scale_j * offset_pull
            pull += offset_pull
        weights, cap = probabilities(call, logits, bias_rows(call.bias, rows))
        heads_out = (weights * scale) @ step.value
        offset = path.value_offset
        heads_out += offset if call.sinks is None else weights.sum(-1, keepdim=True) * offset

        def rates(c: Tensor) -> Tensor:
            value_part = c @ step.value.transpose(-1, -2)  # c_j·(v_i¹ − v_i⁰)
            centre = (c * (heads_out - offset)).sum(-1, keepdim=True)
            gain = torch.sub(value_part * scale, centre)  # c_j·v_i − c_j·o_j
            gain *= weights
            if cap is not None:
                gain *= cap
            own = (gain * pull).sum(-1) * slope_j.squeeze(-1)  # the target's own query: Σ_m gain_jm (q̇_j·k_m) s
            rate = value_part.mul_(weights).addcmul_(gain, products).mul_(slope)
            return add_own(rate, rows, own)

        def values(c: Tensor) -> tuple[Tensor, Tensor]:
            step_part = c @ step.value.transpose(-1, -2)
            return step_part * scale + (c * offset).sum(-1, keepdim=True), step_part * slope

        def shares_slope(c: Tensor) -> Tensor:
            logit_slope = torch.addcmul(products * slope, slope_j, pull)
            return share_rates(weights, *values(c), logit_slope if cap is None else logit_slope * cap)

        return Mixed(heads_out, rates, lambda c: weights * values(c)[0], shares_slope)


class TangentPath(ZeroPath):
    """Zero baseline for any block: q, k, v and their tangents along z by forward-mode replays at a·z."""

    law = "tangent"

    def at(self, a: Tensor) -> PathAt:
        """Replays of the part before attention, one sequence per node."""
        z = self.block.z
        here = own_nodes(a, z[None]) * z
        parts = self.block.project_with_tangent(here, z.expand_as(here).contiguous())
        point, tangent = (for_heads(part, self.heads, self.block.num_heads) for part in parts)
        return _TangentAt(self.block.attention.of_heads(self.heads), point, tangent)


@dataclass(frozen=True)
class _TangentAt:
    call: AttentionCall
    point: Projections
    tangent: Projections

    def attend(self, rows: Tensor) -> Mixed:
        call = self.call
        query, key, value = self.point.query[:, :, rows], self.point.key, self.point.value
        logits = query @ key.transpose(-1, -2)
        logits *= call.scale
        weights, cap = probabilities(call, logits, bias_rows(call.bias, rows))
        heads_out = weights @ value

        def rates(c: Tensor) -> Tensor:
            gain = torch.sub(c @ value.transpose(-1, -2), (c * heads_out).sum(-1, keepdim=True))
            gain *= weights
            if cap is not None:
                gain *= cap
            gain *= call.scale
            own = ((gain @ key) * self.tangent.query[:, :, rows]).sum(-1)
            rate = (c @ self.tangent.value.transpose(-1, -2)).mul_(weights)
            rate.addcmul_(gain, query @ self.tangent.key.transpose(-1, -2))
            return add_own(rate, rows, own)

        def shares(c: Tensor) -> Tensor:
            return weights * (c @ value.transpose(-1, -2))

        def shares_slope(c: Tensor) -> Tensor:
            logit_slope = query @ self.tangent.key.transpose(-1, -2)
            logit_slope += self.tangent.query[:, :, rows] @ key.transpose(-1, -2)
            logit_slope *= call.scale
            if cap is not None:
                logit_slope *= cap
            value_part, value_slope = (c @ x.transpose(-1, -2) for x in (value, self.tangent.value))
            return share_rates(weights, value_part, value_slope, logit_slope)

        return Mixed(heads_out, rates, shares, shares_slope)
