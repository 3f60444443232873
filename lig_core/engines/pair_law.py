"""The logits of all pairs (target j, source i) along ITB paths, in closed form.

Along x_i(a) = (1−a) z_j + a z_i, with σ_ij(a)² quadratic in a (a Gram matrix),

    logits_ij(a) = base_ij + [(1−a) X_ij + a Y_ij + σ_ij(a) Z_ij] / τ_ij(a)

X and Y are the scores of q_j with the content of j, and of i, at position i. Without a norm on the keys
τ = σ, Z = 0, and base holds the key bias. With one (QK-norm), τ² = mean((K̃ + bσ)²) + ε_k σ², where K̃ + bσ
are the keys before it, times σ; Z comes from the projection's bias b, base from the norm's own bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lig_core.blocks.attention import repeat_groups
from lig_core.blocks.block import Block, Projections
from lig_core.blocks.laws import KeyNorm, PathLaws, Positions, key_at_zero_norm_input, norm_input, phases
from lig_core.engines.path import for_heads, take_rows


@dataclass(frozen=True)
class Quadratic:
    """(1−a)² G_jj + 2a(1−a) G_ij + a² G_ii + ε for a Gram matrix G [heads or 1, targets, sources]."""

    gram: Tensor
    diagonal: Tensor
    eps: float

    @classmethod
    def of(cls, gram: Tensor, eps: float) -> Self:
        """From a Gram matrix [..., tokens, tokens]."""
        gram = gram.reshape(-1, *gram.shape[-2:])
        return cls(gram, torch.diagonal(gram, dim1=-2, dim2=-1), eps)

    def at(self, a: Tensor, b: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Value and derivative by a at nodes a, with b = 1 − a: [nodes, heads or 1, targets, sources]."""
        target, source = self.diagonal[:, rows, None], self.diagonal[:, None, :]
        gram = take_rows(self.gram, rows)
        a, b = over_pairs(a, gram), over_pairs(b, gram)
        value = b * b * target + 2 * a * b * gram + a * a * source + self.eps
        slope = 2 * (b * (gram - target) + a * (source - gram))
        return value, slope


@dataclass(frozen=True)
class KeyBias:
    """The change that a projection bias b before the key norm makes.

    It adds 2σ·mean(K̃ b) + σ²·(mean b² + ε_k) to τ², and σ·Z to the numerator.
    """

    cross: Tensor  # mean(K̃ b), [1, heads or 1, tokens]
    weight: Tensor  # mean(b²) + ε_k, [1, heads or 1, 1, 1]
    scores: Tensor  # Z, [1, heads, targets, sources]
    sigma2: Quadratic

    def extend(
        self, square: Tensor, square_slope: Tensor, a: Tensor, b: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """τ² and its derivative from those of mean(K̃²); σZ and its derivative."""
        sigma2, sigma2_slope = self.sigma2.at(a, b, rows)
        sigma = sigma2.sqrt()
        sigma_slope = sigma2_slope / (2 * sigma)
        target, source = self.cross[:, :, rows, None], self.cross[:, :, None, :]
        cross = over_pairs(b, sigma) * target + over_pairs(a, sigma) * source
        scores = take_rows(self.scores, rows)
        return (
            square + 2 * sigma * cross + self.weight * sigma2,
            square_slope + 2 * (sigma_slope * cross + sigma * (source - target)) + self.weight * sigma2_slope,
            sigma * scores,
            sigma_slope * scores,
        )


@dataclass(frozen=True)
class PairLogits:
    """Raw logits (before soft-capping and mask) of all pairs: numerators [1, heads, targets, sources] and τ²."""

    base: Tensor | None
    start: Tensor  # X
    step: Tensor  # Y − X
    tau2: Quadratic | None  # None: τ = 1
    key_bias: KeyBias | None

    @classmethod
    def of(cls, block: Block, laws: PathLaws, heads: Tensor, sigma2: Quadratic | None) -> Self:
        """Fitted from replays of the part before attention; `sigma2` is the quadratic of the values' norm."""
        if block.attention.pairwise:
            return cls._affine(block, heads)
        scale = block.attention.scale
        zero = for_heads(block.project(torch.zeros_like(block.z)[None]), heads, block.num_heads)
        end = for_heads(block.projections, heads, block.num_heads)
        actual = scale * end.query @ end.key.transpose(-1, -2)
        at_zero = scale * end.query @ zero.key.transpose(-1, -2)
        own = scale * own_content(block, laws.positions, heads, end)
        sigma = laws.norm.sigma(block.z)  # [tokens, 1]: σ_j down the targets, its transpose σ_i along the sources
        if laws.key_norm is not None:
            return cls._with_key_norm(block, laws, laws.key_norm, heads, sigma2, (actual, at_zero, own), end.query)
        start = sigma * (own - at_zero)
        step = sigma.T * (actual - at_zero) - start
        return cls(at_zero if at_zero.any() else None, start, step, sigma2, None)

    @classmethod
    def _affine(cls, block: Block, heads: Tensor) -> Self:
        """Pairwise logits that are affine along the path, mask included: from row j where every token is z_j."""
        rows = []
        for j, z_j in enumerate(block.z):
            rows.append(block.pair_inputs(z_j.expand_as(block.z)[None]).logits[:, heads, j : j + 1])
        start = torch.cat(rows, 2)
        return cls(None, start, block.pair_inputs(block.z[None]).logits[:, heads] - start, None, None)

    @classmethod
    def _with_key_norm(
        cls,
        block: Block,
        laws: PathLaws,
        key_norm: KeyNorm,
        heads: Tensor,
        sigma2: Quadratic | None,
        scores: tuple[Tensor, Tensor, Tensor],
        query: Tensor,
    ) -> Self:
        actual, at_zero, own = scores
        law, sigma = key_norm.norm, laws.norm.sigma(block.z)

        def per_head(x: Tensor) -> Tensor:  # [1, groups or 1, ...] → [1, heads or 1, ...]
            return repeat_groups(x, block.num_heads)[:, heads] if x.shape[1] > 1 else x

        raw, _ = norm_input(block, key_norm, block.z)
        raw_zero, _ = norm_input(block, key_norm, torch.zeros_like(block.z))
        norm_bias = repeat_groups(key_at_zero_norm_input(block, key_norm), block.num_heads)[:, heads]
        base = block.attention.scale * query @ norm_bias.transpose(-1, -2)
        bias_scores = (at_zero - base) * per_head(law.sigma(raw_zero)).transpose(-1, -2)  # Z
        tau = per_head(law.sigma(raw)) * sigma  # [1, heads or 1, tokens, 1]
        start = (own - base) * tau - bias_scores * sigma
        step = (actual - base) * tau.transpose(-1, -2) - bias_scores * sigma.T - start

        spread = law.centred((raw - raw_zero) * sigma)  # K̃
        bias = law.centred(raw_zero[:, :, :1])  # b
        gram = per_head(spread @ spread.transpose(-1, -2) / spread.shape[-1])
        sigma2 = sigma2 or Quadratic.of(torch.zeros_like(gram[:, :1]), 1.0)  # no norm before: σ = 1
        if bias.any():
            cross, weight = (spread * bias).mean(-1), bias.pow(2).mean(-1, keepdim=True) + law.eps
            key_bias = KeyBias(per_head(cross[..., None])[..., 0], per_head(weight), bias_scores, sigma2)
            tau2 = Quadratic.of(gram, 0.0)
        else:
            key_bias = None
            tau2 = Quadratic.of(gram + law.eps * sigma2.gram, law.eps * sigma2.eps)
        return cls(base if base.any() else None, start, step, tau2, key_bias)

    def at(self, a: Tensor, b: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and their derivative by a at nodes a, with b = 1 − a: [nodes, heads, targets, sources]."""
        slope = take_rows(self.step, rows)
        logits = take_rows(self.start, rows) + over_pairs(a, slope) * slope
        if self.tau2 is not None:
            square, square_slope = self.tau2.at(a, b, rows)
            if self.key_bias is not None:
                square, square_slope, extra, extra_slope = self.key_bias.extend(square, square_slope, a, b, rows)
                logits, slope = logits + extra, slope + extra_slope
            inverse = square.rsqrt()
            logits *= inverse
            slope = torch.addcmul(slope * inverse, logits, square_slope / square, value=-0.5)
        if self.base is not None:
            logits = logits + take_rows(self.base, rows)
        return logits, slope


def own_content(block: Block, positions: Positions, heads: Tensor, end: Projections) -> Tensor:
    """q_j · k(content of j at position i): [1, heads, targets, sources]."""
    if positions.kind == "none":
        return (end.query * end.key).sum(-1, keepdim=True).expand(-1, -1, -1, block.num_tokens)
    if positions.kind == "rotary":
        constant = block.project(block.z[block.num_tokens // 2].expand_as(block.z)[None]).key
        phase = phases(positions, constant)  # [1, 1, tokens, dims/2]
        unturned = positions.complex(end.query).conj() * phase.conj() * positions.complex(end.key)
        turned = (unturned @ phase.transpose(-1, -2)).real
        still = slice(positions.dims, None)
        return turned + (end.query[..., still] * end.key[..., still]).sum(-1, keepdim=True)
    rows = []
    for j in range(block.num_tokens):
        everywhere = block.project(block.z[j].expand_as(block.z)[None]).key
        content = repeat_groups(everywhere, block.num_heads)[:, heads]
        rows.append(end.query[:, :, j : j + 1] @ content.transpose(-1, -2))
    return torch.cat(rows, 2)


def over_pairs(nodes: Tensor, like: Tensor) -> Tensor:
    """Nodes [nodes] as [nodes, 1, 1, 1], or [nodes, targets] as [nodes, 1, targets, 1], of `like`'s dtype."""
    return nodes.to(like.dtype).view(len(nodes), 1, -1 if nodes.dim() == 2 else 1, 1)
