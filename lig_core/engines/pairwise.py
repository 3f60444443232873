"""Paths of blocks whose logits are no products of queries and keys, but depend on tokens j and i alone (DeBERTa).

PairwisePath        zero baseline: d s_ji/da splits into what source i and what target j contribute
PairwiseTargetPath  ITB: the target stands still, so all of d s_ji/da is source i's; replays of every path

The split takes 1 + ⌈log₂ T⌉ forward-mode passes and no knowledge of the logits: one in which every token moves,
and one for every bit of the token index, in which the tokens with that bit move. Any two tokens differ in some bit;
in that pass one of them moves and the other stands still.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.blocks.attention import repeat_groups
from lig_core.blocks.block import Block, PairInputs
from lig_core.engines.path import Mixed, PathAt, TargetPath, ZeroPath, add_own, own_nodes, share_rates, without_self


class PairwisePath(ZeroPath):
    """Zero baseline: logits and values at a·z, and the derivatives of logits by source and by target."""

    law = "pairwise"

    def at(self, a: Tensor) -> PathAt:
        """Replays of the part before attention, one sequence per node and pass."""
        block, z = self.block, self.block.z
        here = a.to(z)[:, None, None] * z
        point, tangent = block.pair_inputs_with_tangent(here, z.expand_as(here).contiguous())
        index = torch.arange(block.num_tokens, device=z.device)
        by_source = tangent.logits.clone()  # i = j: one token, both parts at once
        known = torch.eye(block.num_tokens, dtype=torch.bool, device=z.device)
        for bit in range((block.num_tokens - 1).bit_length()):
            moves = (index >> bit) % 2 == 1
            _, moved = block.pair_inputs_with_tangent(here, (moves[:, None] * z).expand_as(here).contiguous())
            source_alone = moves[None, :] & ~moves[:, None] & ~known  # [targets, sources]
            target_alone = ~moves[None, :] & moves[:, None] & ~known
            by_source = torch.where(source_alone, moved.logits, by_source)
            by_source = torch.where(target_alone, tangent.logits - moved.logits, by_source)
            known |= source_alone | target_alone
        by_target = tangent.logits - by_source
        chosen = (x[:, self.heads] for x in (point.logits, by_source, by_target))
        values = (self._for_heads(parts) for parts in (point, tangent))
        return _PairwiseAt(*chosen, *values)

    def _for_heads(self, parts: PairInputs) -> Tensor:
        return repeat_groups(parts.value, self.block.num_heads)[:, self.heads]


@dataclass(frozen=True)
class _PairwiseAt:
    logits: Tensor  # [nodes, heads, targets, sources]
    by_source: Tensor
    by_target: Tensor
    value: Tensor  # [nodes, heads, tokens, head_dim]
    value_tangent: Tensor

    def attend(self, rows: Tensor) -> Mixed:
        weights, value = torch.softmax(self.logits[:, :, rows], -1), self.value
        heads_out = weights @ value

        def rates(c: Tensor) -> Tensor:
            gain = torch.sub(c @ value.transpose(-1, -2), (c * heads_out).sum(-1, keepdim=True)) * weights
            own = (gain * self.by_target[:, :, rows]).sum(-1)
            rate = (c @ self.value_tangent.transpose(-1, -2)).mul_(weights)
            rate.addcmul_(gain, self.by_source[:, :, rows])
            return add_own(rate, rows, own)

        def shares_slope(c: Tensor) -> Tensor:
            logit_slope = self.by_source[:, :, rows] + self.by_target[:, :, rows]
            value_part, value_slope = (c @ x.transpose(-1, -2) for x in (value, self.value_tangent))
            return share_rates(weights, value_part, value_slope, logit_slope)

        return Mixed(heads_out, rates, lambda c: weights * (c @ value.transpose(-1, -2)), shares_slope)


class PairwiseTargetPath(TargetPath):
    """ITB: row j of the logits, replayed on target j's own sequence; T projections per target and node."""

    law = "replayed"

    def at(self, a: Tensor) -> PathAt:
        """Nothing is shared between targets."""
        return _PairwiseTargetAt(self.block, self.heads, a)


@dataclass(frozen=True)
class _PairwiseTargetAt:
    block: Block
    heads: Tensor
    a: Tensor

    def attend(self, rows: Tensor) -> Mixed:
        block = self.block
        start = block.z[rows][None, :, None]  # z_j, [1, targets, 1, hidden]
        direction = (block.z - start).expand(len(self.a), -1, -1, -1)  # [nodes, targets, sources, hidden]
        here = start + own_nodes(self.a, direction) * direction
        point, tangent = block.pair_inputs_with_tangent(here.flatten(0, 1), direction.flatten(0, 1))
        logits, logits_slope = (self._own_row(x.logits, rows) for x in (point, tangent))
        value, value_slope = (self._values(x.value, rows) for x in (point, tangent))
        weights = torch.softmax(logits, -1)
        heads_out = (weights.unsqueeze(-2) @ value).squeeze(-2)  # [nodes, heads, targets, head_dim]

        def rates(c: Tensor) -> Tensor:
            gain = (value @ c.unsqueeze(-1)).squeeze(-1) - (c * heads_out).sum(-1, keepdim=True)
            rate = weights * ((value_slope @ c.unsqueeze(-1)).squeeze(-1) + gain * logits_slope)
            return without_self(rate, rows)

        def shares(c: Tensor) -> Tensor:
            return weights * (value @ c.unsqueeze(-1)).squeeze(-1)

        def shares_slope(c: Tensor) -> Tensor:
            value_part, value_change = ((x @ c.unsqueeze(-1)).squeeze(-1) for x in (value, value_slope))
            return share_rates(weights, value_part, value_change, logits_slope)

        return Mixed(heads_out, rates, shares, shares_slope)

    def _own_row(self, logits: Tensor, rows: Tensor) -> Tensor:
        """Row j of target j's sequence: [nodes·targets, heads, T, T] → [nodes, heads, targets, sources]."""
        per_target = logits[:, self.heads].unflatten(0, (len(self.a), len(rows)))
        own = per_target[:, torch.arange(len(rows), device=rows.device), :, rows]  # [targets, nodes, heads, sources]
        return own.permute(1, 2, 0, 3)

    def _values(self, value: Tensor, rows: Tensor) -> Tensor:
        """[nodes·targets, groups, T, head_dim] → [nodes, heads, targets, T, head_dim]."""
        value = repeat_groups(value, self.block.num_heads)[:, self.heads]
        return value.unflatten(0, (len(self.a), len(rows))).transpose(1, 2)
