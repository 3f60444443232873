"""Paths from each target's own token (ITB): z_j + a·(z_i − z_j) at source i; the target's query stands still.

ClosedTargetPath    logits and values of all pairs (i, j) in closed form
ReplayedTargetPath  a forward-mode replay of every path: any block, T projections per target and node
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.blocks.attention import masked, probabilities
from lig_core.blocks.block import Block, relative_error
from lig_core.blocks.laws import LAW_TOLERANCE, PathLaws
from lig_core.engines.pair_law import PairLogits, Quadratic, over_pairs
from lig_core.engines.pairwise import PairwiseTargetPath
from lig_core.engines.path import (
    Mixed,
    Path,
    PathAt,
    TargetPath,
    bias_rows,
    for_heads,
    own_nodes,
    share_rates,
    without_self,
)

PROBE = 0.37
"""The point of the path at which a closed form is checked against a replay."""


def target_path(block: Block, laws: PathLaws | None, heads: Tensor) -> Path:
    """The paths from each target's own token, in closed form where it is exact, else by replays."""
    if laws is not None:
        path = ClosedTargetPath(block, laws, heads)
        if path.matches_replay():
            return path
    return PairwiseTargetPath(block, heads) if block.attention.pairwise else ReplayedTargetPath(block, heads)


class ReplayedTargetPath(TargetPath):
    """ITB for any block: each target's whole path replayed in forward mode; T projections per target and node."""

    law = "replayed"

    def at(self, a: Tensor) -> PathAt:
        """Nothing is shared between targets."""
        return _ReplayedAt(self.block, self.heads, a)


@dataclass(frozen=True)
class _ReplayedAt:
    block: Block
    heads: Tensor
    a: Tensor

    def attend(self, rows: Tensor) -> Mixed:
        block, call = self.block, self.block.attention.of_heads(self.heads)
        start = block.z[rows][None, :, None]  # z_j, [1, targets, 1, hidden]
        direction = (block.z - start).expand(len(self.a), -1, -1, -1)  # [nodes, targets, sources, hidden]
        here = start + own_nodes(self.a, direction) * direction
        parts = block.project_with_tangent(here.flatten(0, 1), direction.flatten(0, 1))
        point, tangent = (for_heads(part, self.heads, block.num_heads) for part in parts)
        # Every target has keys and values of its own: batch over (node, target), one query each.
        query = call.query[:, self.heads][:, :, rows].transpose(1, 2).unsqueeze(3)  # [1, targets, heads, 1, head_dim]
        query = query.expand(len(self.a), -1, -1, -1, -1).flatten(0, 1)
        logits = query @ point.key.transpose(-1, -2)
        logits *= call.scale
        bias = bias_rows(call.bias, rows)
        if bias is not None:  # [1, heads, targets, sources] → [nodes·targets, heads, 1, sources]
            bias = bias.expand(1, -1, len(rows), -1).transpose(1, 2).unsqueeze(3)
            bias = bias.expand(len(self.a), -1, -1, -1, -1).flatten(0, 1)
        weights, cap = probabilities(call, logits, bias)
        heads_out = weights @ point.value

        def unbatched(x: Tensor) -> Tensor:  # [nodes·targets, heads, 1, ...] → [nodes, heads, targets, ...]
            return x.squeeze(2).unflatten(0, (len(self.a), len(rows))).transpose(1, 2)

        def rates(c: Tensor) -> Tensor:
            c = c.transpose(1, 2).flatten(0, 1).unsqueeze(2)
            gain = c @ point.value.transpose(-1, -2) - (c * heads_out).sum(-1, keepdim=True)
            if cap is not None:
                gain *= cap
            keys = query @ tangent.key.transpose(-1, -2) * call.scale
            rate = weights * (c @ tangent.value.transpose(-1, -2) + gain * keys)
            return without_self(unbatched(rate), rows)

        def batched(c: Tensor) -> Tensor:
            return c.expand(len(self.a), -1, -1, -1).transpose(1, 2).flatten(0, 1).unsqueeze(2)

        def shares(c: Tensor) -> Tensor:
            return unbatched(weights * (batched(c) @ point.value.transpose(-1, -2)))

        def shares_slope(c: Tensor) -> Tensor:
            logit_slope = query @ tangent.key.transpose(-1, -2) * call.scale
            if cap is not None:
                logit_slope *= cap
            value_part, value_slope = (batched(c) @ x.transpose(-1, -2) for x in (point.value, tangent.value))
            return unbatched(share_rates(weights, value_part, value_slope, logit_slope))

        return Mixed(unbatched(heads_out), rates, shares, shares_slope)


class ClosedTargetPath(TargetPath):
    """ITB in closed form: logits by PairLogits, v_ij(a) = b_v + [(1−a) Ṽ_j + a Ṽ_i] / σ_ij(a) with Ṽ = (v − b_v) σ."""

    law = "closed"

    def __init__(self, block: Block, laws: PathLaws, heads: Tensor) -> None:
        super().__init__(block, heads)
        self.call = block.attention.of_heads(heads)
        norm = laws.norm
        self.sigma2 = None if norm.kind == "none" else Quadratic.of(norm.gram(block.z), norm.eps)
        self.logits = PairLogits.of(block, laws, heads, self.sigma2)
        zero = for_heads(block.project(torch.zeros_like(block.z)[None]), heads, block.num_heads).value
        self.value_offset = zero[:, :, :1]  # b_v
        end = for_heads(block.projections, heads, block.num_heads).value
        self.values = (end - zero) * norm.sigma(block.z)  # Ṽ, [1, heads, tokens, head_dim]

    def matches_replay(self) -> bool:
        """True if logits and values at one point of three targets' paths agree with replays."""
        block, call = self.block, self.block.attention
        z = block.z
        rows = torch.tensor(sorted({1 % len(z), len(z) // 2, len(z) - 1}), device=z.device)
        a = torch.tensor([PROBE], dtype=torch.float64, device=z.device)
        here = z[rows][:, None] + PROBE * (z - z[rows][:, None])  # [targets, sources, hidden]
        projected = for_heads(block.project(here), self.heads, block.num_heads)
        query = call.query[0, self.heads][:, rows].transpose(0, 1).unsqueeze(2)  # [targets, heads, 1, head_dim]
        if call.pairwise:
            own = block.pair_inputs(here).logits[torch.arange(len(rows), device=z.device), :, rows]
            expected = own[:, self.heads].transpose(0, 1)[None]  # [1, heads, targets, sources]
        else:
            expected = (query @ projected.key.transpose(-1, -2) * call.scale).squeeze(2).transpose(0, 1)[None]
        logits, _ = self.logits.at(a, 1 - a, rows)
        logits, expected = (torch.where(masked(expected), 0, x) for x in (logits, expected))
        blend = (1 - PROBE) * self.values[0][:, rows, None] + PROBE * self.values[0][:, None]
        if self.sigma2 is not None:
            blend = blend / self.sigma2.at(a, 1 - a, rows)[0].sqrt()[0, ..., None]
        values = (blend + self.value_offset[0][:, None]).transpose(0, 1)
        tolerance = 50 * LAW_TOLERANCE[z.dtype]
        return relative_error(logits, expected) < tolerance and relative_error(values, projected.value) < tolerance

    def at(self, a: Tensor) -> PathAt:
        """The closed form at the nodes."""
        return _ClosedAt(self, a)


@dataclass(frozen=True)
class _ClosedAt:
    path: ClosedTargetPath
    a: Tensor

    def attend(self, rows: Tensor) -> Mixed:
        path, call = self.path, self.path.call
        b64 = 1 - self.a
        logits, slope = path.logits.at(self.a, b64, rows)
        bias = None if call.pairwise else bias_rows(call.bias, rows)
        weights, cap = probabilities(call, logits, bias)
        if cap is not None:
            slope = slope * cap
        a, b = (over_pairs(x, weights) for x in (self.a, b64))
        values, offset = path.values, path.value_offset
        own_values = values[:, :, rows]
        if path.sigma2 is None:
            inverse = shrink = None
            shares = weights
        else:
            square, square_slope = path.sigma2.at(self.a, b64, rows)
            inverse, shrink = square.rsqrt(), square_slope / (2 * square)
            shares = weights * inverse
        heads_out = (shares @ values).mul_(a)
        heads_out += b * shares.sum(-1, keepdim=True) * own_values
        heads_out += offset if call.sinks is None else weights.sum(-1, keepdim=True) * offset

        def value_parts(c: Tensor) -> tuple[Tensor, Tensor]:
            """c_j·v_i less its bias part, and its derivative by a."""
            difference = c @ values.transpose(-1, -2)
            own = (c * own_values).sum(-1, keepdim=True)
            difference = difference - own
            part = torch.addcmul(own, difference, a)
            if inverse is not None and shrink is not None:
                part *= inverse
                difference = difference * inverse
                difference -= part * shrink
            return part, difference

        def rates(c: Tensor) -> Tensor:
            gain, difference = value_parts(c)
            gain -= (c * (heads_out - offset)).sum(-1, keepdim=True)
            return without_self(gain.mul_(slope).add_(difference).mul_(weights), rows)

        def direct_shares(c: Tensor) -> Tensor:
            return weights * value_parts(c)[0].add_((c * offset).sum(-1, keepdim=True))

        def shares_slope(c: Tensor) -> Tensor:
            value_part, value_slope = value_parts(c)
            return share_rates(weights, value_part.add_((c * offset).sum(-1, keepdim=True)), value_slope, slope)

        return Mixed(heads_out, rates, direct_shares, shares_slope)
