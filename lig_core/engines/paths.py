"""What attention does along the path from the baseline to z, for many targets at once.

A path gives, at nodes a ∈ (0,1) and for target tokens j (`rows`), the head outputs o_j^h(a); and, once the
gradient c_j^h = ∂L_j/∂o_j^h is known, the rate at which every source i feeds every target through attention:

    rate_ij^h = A_ij [ c_j·v̇_i + (c_j·v_i − c_j·o_j) · (q_j·k̇_i) s g_ij ]
              + δ_ij Σ_m A_mj (c_j·v_m − c_j·o_j) · (q̇_j·k_m) s g_mj

with A_ij the attention weight of source i at target j, s the scale, g the soft-capping slope and a dot the
derivative along the path (LIG, arXiv 2606.21564, with the chain rule split at the head outputs). Tensors
are [nodes, heads, targets, sources].

Zero baseline: one path a·z serves all targets.
    ScaledPath         q, k, v = x⁰ + λ(a)·(x¹ − x⁰), a scalar per token: no projections at the nodes
    TangentPath        q, k, v and their tangents by forward-mode replays: any block
Target token as baseline (ITB): one path per target, z_j + a·(z_i − z_j) at source i; the query stands still.
    ClosedTargetPath   logits and values of all pairs (i, j) in closed form
    ReplayedTargetPath a forward-mode replay of every path: any block, T² projections
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lig_core.blocks.attention import probabilities, repeat_groups
from lig_core.blocks.block import Block, Projections, relative_error
from lig_core.blocks.laws import (
    LAW_TOLERANCE,
    NormLaw,
    PathLaws,
    key_at_zero_norm_input,
    norm_input,
    phases,
)

PROBE = 0.37
"""The point of the path at which a closed form is checked against a replay."""


@dataclass(frozen=True)
class Mixed:
    """Head outputs at some nodes and targets, and how a gradient there becomes rates of the sources."""

    heads_out: Tensor  # o, [nodes, heads, targets, head_dim]
    rates: Callable[[Tensor], Tensor]  # c like o → [nodes, heads, targets, sources]; may overwrite its state


class PathAt(Protocol):
    """A path at given nodes."""

    def attend(self, rows: Tensor) -> Mixed:
        """Attention for the target tokens `rows`."""
        ...


class Path(Protocol):
    """Where z and attention's inputs go as a runs from 0 to 1.

    `moving` says that the targets' own residual input moves too (zero baseline); `law` names the mechanism.
    """

    moving: bool
    law: str
    num_heads: int

    def at(self, a: Tensor) -> PathAt:
        """The path at nodes a [nodes], float64."""
        ...

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """z at the target tokens themselves: [nodes, targets, hidden]."""
        ...


def zero_path(block: Block, laws: PathLaws | None, heads: Tensor) -> Path:
    """The path a·z, by scalars per token where the block has such laws, else by forward-mode replays."""
    if laws is not None and laws.shared:
        path = ScaledPath(block, laws.norm, heads)
        if path.matches_replay():
            return path
    return TangentPath(block, heads)


def target_path(block: Block, laws: PathLaws | None, heads: Tensor) -> Path:
    """The paths from each target's own token, in closed form where it is exact, else by replays."""
    if laws is not None:
        path = ClosedTargetPath(block, laws, heads)
        if path.matches_replay():
            return path
    return ReplayedTargetPath(block, heads)


class ScaledPath:
    """Zero baseline under a norm law: x(a) = x⁰ + λ_i(a) (x¹ − x⁰), λ = a·σ(1)/σ(a), for x = q, k, v."""

    moving = True
    law = "scaled"

    def __init__(self, block: Block, norm: NormLaw, heads: Tensor) -> None:
        self._block, self._norm, self._heads = block, norm, heads
        self.num_heads = len(heads)
        zero = block.project(torch.zeros_like(block.z)[None])
        self._start = _for_heads(zero, heads, block.num_heads)
        end = _for_heads(block.projections, heads, block.num_heads)
        self._step = Projections(*(x1 - x0 for x1, x0 in zip(end, self._start, strict=True)))
        self._mean_square = norm.mean_square(block.z)  # [tokens]
        # A key offset that is the same at every source shifts a target's logits alike: softmax does not see it.
        call = block.attention
        constant = torch.equal(self._start.key, self._start.key[:, :, :1].expand_as(self._start.key))
        self._key_offset = bool((not constant or call.softcap or call.sinks is not None) and self._start.key.any())
        self._value_offset = self._start.value[:, :, :1]  # biases: the same at every token

    def matches_replay(self) -> bool:
        """Whether q, k and v at one point of the path, where σ is about to change, agree with a replay."""
        z, norm = self._block.z, self._norm
        a = 0.3 if norm.kind == "none" else float((norm.eps / self._mean_square.median()).sqrt().clamp(1e-6, 0.9))
        scale, _ = self._scales(torch.tensor([a], dtype=torch.float64, device=z.device))
        found = _for_heads(self._block.project(a * z[None]), self._heads, self._block.num_heads)
        tolerance = 50 * LAW_TOLERANCE[z.dtype]
        law = (x0 + scale[:, None, :, None] * dx for x0, dx in zip(self._start, self._step, strict=True))
        same_offset = relative_error(self._value_offset.expand_as(self._start.value), self._start.value) < tolerance
        return same_offset and all(relative_error(x, y) < tolerance for x, y in zip(law, found, strict=True))

    def _scales(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """λ and dλ/da [nodes, tokens]."""
        dtype, nodes = self._block.z.dtype, a[:, None]
        if self._norm.kind == "none":
            ones = torch.ones(len(a), self._block.num_tokens, dtype=dtype, device=a.device)
            return nodes.to(dtype) * ones, ones
        square, eps = self._mean_square.double(), self._norm.eps
        end, here = (square + eps).sqrt(), (nodes**2 * square + eps).sqrt()
        return (nodes * end / here).to(dtype), (end * eps / here**3).to(dtype)

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """a·z_j."""
        return a.to(self._block.z)[:, None, None] * self._block.z[rows]

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
        call = path._block.attention
        start, step = path._start, path._step
        scale, slope = self.scale[:, None, None, :], self.slope[:, None, None, :]  # at the sources
        scale_j, slope_j = (x[:, None, rows, None] for x in (self.scale, self.slope))
        query = start.query[:, :, rows] + scale_j * step.query[:, :, rows]
        products = query @ step.key.transpose(-1, -2)  # q_j·(k_i¹ − k_i⁰) s
        products *= call.scale
        logits = products * scale
        if path._key_offset:
            logits += query @ start.key.transpose(-1, -2) * call.scale
        weights, cap = probabilities(call, logits, _bias_rows(call.bias, path._heads, rows))
        heads_out = (weights * scale) @ step.value
        offset = path._value_offset
        heads_out += offset if call.sinks is None else weights.sum(-1, keepdim=True) * offset

        def rates(c: Tensor) -> Tensor:
            value_part = c @ step.value.transpose(-1, -2)  # c_j·(v_i¹ − v_i⁰)
            centre = (c * (heads_out - offset)).sum(-1, keepdim=True)
            gain = torch.sub(value_part * scale, centre)  # c_j·v_i − c_j·o_j
            gain *= weights
            if cap is not None:
                gain *= cap
            # the target's own query: Σ_m gain_jm (q̇_j·k_m) s
            pulled = (gain * scale) @ step.key
            if path._key_offset:
                pulled += gain @ start.key
            own = (pulled * step.query[:, :, rows]).sum(-1) * call.scale * slope_j.squeeze(-1)
            rate = value_part.mul_(weights).addcmul_(gain, products).mul_(slope)
            return _add_own(rate, rows, own)

        return Mixed(heads_out, rates)


class TangentPath:
    """Zero baseline for any block: q, k, v and their tangents along z by forward-mode replays at a·z."""

    moving = True
    law = "tangent"

    def __init__(self, block: Block, heads: Tensor) -> None:
        self._block, self._heads = block, heads
        self.num_heads = len(heads)

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """a·z_j."""
        return a.to(self._block.z)[:, None, None] * self._block.z[rows]

    def at(self, a: Tensor) -> PathAt:
        """Replays of the part before attention, one sequence per node."""
        z = self._block.z
        here = a.to(z)[:, None, None] * z
        parts = self._block.project_with_tangent(here, z.expand_as(here).contiguous())
        point, tangent = (_for_heads(part, self._heads, self._block.num_heads) for part in parts)
        return _TangentAt(self._block, self._heads, point, tangent)


@dataclass(frozen=True)
class _TangentAt:
    block: Block
    heads: Tensor
    point: Projections
    tangent: Projections

    def attend(self, rows: Tensor) -> Mixed:
        call = self.block.attention
        query, key, value = self.point.query[:, :, rows], self.point.key, self.point.value
        logits = query @ key.transpose(-1, -2)
        logits *= call.scale
        weights, cap = probabilities(call, logits, _bias_rows(call.bias, self.heads, rows))
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
            return _add_own(rate, rows, own)

        return Mixed(heads_out, rates)


class ReplayedTargetPath:
    """ITB for any block: each target's whole path replayed in forward mode; T projections per target and node."""

    moving = False
    law = "replayed"

    def __init__(self, block: Block, heads: Tensor) -> None:
        self._block, self._heads = block, heads
        self.num_heads = len(heads)

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """z_j: the target itself does not move."""
        return self._block.z[rows].expand(len(a), -1, -1)

    def at(self, a: Tensor) -> PathAt:
        """Nothing is shared between targets."""
        return _ReplayedAt(self._block, self._heads, a)


@dataclass(frozen=True)
class _ReplayedAt:
    block: Block
    heads: Tensor
    a: Tensor

    def attend(self, rows: Tensor) -> Mixed:
        block, call = self.block, self.block.attention
        start = block.z[rows][None, :, None]  # z_j, [1, targets, 1, hidden]
        direction = (block.z - start).expand(len(self.a), -1, -1, -1)  # [nodes, targets, sources, hidden]
        here = start + self.a.to(block.z)[:, None, None, None] * direction
        parts = block.project_with_tangent(here.flatten(0, 1), direction.flatten(0, 1))
        point, tangent = (_for_heads(part, self.heads, block.num_heads) for part in parts)
        # Every target has keys and values of its own: batch over (node, target), one query each.
        query = call.query[:, self.heads][:, :, rows].transpose(1, 2).unsqueeze(3)  # [1, targets, heads, 1, head_dim]
        query = query.expand(len(self.a), -1, -1, -1, -1).flatten(0, 1)
        logits = query @ point.key.transpose(-1, -2)
        logits *= call.scale
        bias = _bias_rows(call.bias, self.heads, rows)
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
            return _without_self(unbatched(rate), rows)

        return Mixed(unbatched(heads_out), rates)


class ClosedTargetPath:
    """ITB in closed form. Along x_i(a) = (1−a) z_j + a z_i, with σ_ij(a)² quadratic in a (a Gram matrix),

        v_ij(a)      = b_v + [(1−a) Ṽ_j + a Ṽ_i] / σ_ij(a)
        logits_ij(a) = base_ij + [(1−a) X_ij + a Y_ij + σ_ij(a) Z_ij] / τ_ij(a)

    Ṽ = (v − b_v) σ; X and Y are the scores of q_j with the content of j, and of i, at position i. Without a
    key norm τ = σ, Z = 0 and base holds the key bias. With one, τ² = mean((K̃ + b σ)²) + ε_k σ² for K̃ + b σ
    the unnormed keys times σ, Z comes from the projection's bias b, base from the key norm's own bias.
    """

    moving = False
    law = "closed"

    def __init__(self, block: Block, laws: PathLaws, heads: Tensor) -> None:
        self._block, self._laws, self._heads = block, laws, heads
        self.num_heads = len(heads)
        norm = laws.norm
        self._zero = block.project(torch.zeros_like(block.z)[None])
        zero = _for_heads(self._zero, heads, block.num_heads)
        end = _for_heads(block.projections, heads, block.num_heads)
        sigma = norm.sigma(block.z)  # [tokens, 1]
        self._value_offset = zero.value[:, :, :1]
        self._values = (end.value - zero.value) * sigma  # Ṽ, [1, heads, tokens, head_dim]
        self._sigma2 = None if norm.kind == "none" else _Quadratic.of(norm.gram(block.z), norm.eps)
        actual = end.query @ end.key.transpose(-1, -2) * block.attention.scale
        at_zero = end.query @ zero.key.transpose(-1, -2) * block.attention.scale
        own = self._own_content(end.query)
        if laws.key_norm is None:
            self._base: Tensor | None = at_zero if at_zero.any() else None
            self._bias_term: Tensor | None = None
            self._key_bias: _KeyBias | None = None
            self._from = sigma * (own - at_zero)  # X: σ_j at target j
            self._step = sigma.T * (actual - at_zero) - self._from  # Y − X
            self._tau2 = self._sigma2
        else:
            self._use_key_norm(actual, at_zero, own, sigma, end.query)

    def _own_content(self, query: Tensor) -> Tensor:
        """scale · q_j · k(content of j at position i): [1, heads, targets, sources]."""
        block, positions = self._block, self._laws.positions
        key = repeat_groups(block.attention.key, block.num_heads)[:, self._heads]
        scale = block.attention.scale
        if positions.kind == "none":
            return (query * key).sum(-1, keepdim=True).expand(-1, -1, -1, block.num_tokens) * scale
        if positions.kind == "rotary":
            constant = block.project(block.z[block.num_tokens // 2].expand_as(block.z)[None]).key
            phase = phases(positions, constant)  # [1, 1, tokens, dims/2]
            unturned = positions.complex(query).conj() * phase.conj() * positions.complex(key)
            scores = (unturned @ phase.transpose(-1, -2)).real
            still = slice(positions.dims, None)
            return (scores + (query[..., still] * key[..., still]).sum(-1, keepdim=True)) * scale
        rows = []
        for j in range(block.num_tokens):
            everywhere = block.project(block.z[j].expand_as(block.z)[None]).key
            content = repeat_groups(everywhere, block.num_heads)[:, self._heads]
            rows.append(query[:, :, j : j + 1] @ content.transpose(-1, -2))
        return torch.cat(rows, 2) * scale

    def _use_key_norm(self, actual: Tensor, at_zero: Tensor, own: Tensor, sigma: Tensor, query: Tensor) -> None:
        block, norm, key_norm = self._block, self._laws.norm, self._laws.key_norm
        assert key_norm is not None
        law = key_norm.norm

        def per_head(x: Tensor) -> Tensor:  # [1, groups or 1, ...] → [1, heads or 1, ...]
            return repeat_groups(x, block.num_heads)[:, self._heads] if x.shape[1] > 1 else x

        raw, _ = norm_input(block, key_norm, block.z)
        raw_zero, _ = norm_input(block, key_norm, torch.zeros_like(block.z))
        rho, rho_zero = per_head(law.sigma(raw)), per_head(law.sigma(raw_zero))
        bias_key = repeat_groups(key_at_zero_norm_input(block, key_norm), block.num_heads)[:, self._heads]
        base = query @ bias_key.transpose(-1, -2) * block.attention.scale
        self._base = base if base.any() else None
        bias_term = (at_zero - base) * rho_zero.transpose(-1, -2)  # Z
        tau = rho * sigma  # ρσ, [1, heads or 1, tokens, 1]
        self._from = (own - base) * tau - bias_term * sigma
        self._step = (actual - base) * tau.transpose(-1, -2) - bias_term * sigma.T - self._from
        spread = law.centred((raw - raw_zero) * sigma)  # K̃
        offset = law.centred(raw_zero[:, :, :1])  # b
        sigma2 = self._sigma2 or _Quadratic.one(block.z)
        gram = per_head(spread @ spread.transpose(-1, -2) / spread.shape[-1])
        if not offset.any():
            self._bias_term = self._key_bias = None
            self._tau2 = _Quadratic.of(gram + law.eps * sigma2.gram, law.eps * sigma2.eps)
            return
        self._bias_term = bias_term
        self._tau2 = _Quadratic.of(gram, 0.0)
        self._key_bias = _KeyBias(
            cross=per_head((spread * offset).mean(-1)[..., None]).squeeze(-1),
            weight=per_head(offset.pow(2).mean(-1, keepdim=True) + law.eps),
            sigma2=sigma2,
        )

    def matches_replay(self) -> bool:
        """Whether logits and values at one point of three targets' paths agree with replays."""
        block, call = self._block, self._block.attention
        z = block.z
        targets = sorted({1 % len(z), len(z) // 2, len(z) - 1})
        rows = torch.tensor(targets, device=z.device)
        a = torch.tensor([PROBE], dtype=torch.float64, device=z.device)
        here = z[rows][:, None] + PROBE * (z - z[rows][:, None])  # [targets, sources, hidden]
        found = _for_heads(block.project(here), self._heads, block.num_heads)
        query = call.query[0, self._heads][:, rows].transpose(0, 1).unsqueeze(2)  # [targets, heads, 1, head_dim]
        expected = (query @ found.key.transpose(-1, -2) * call.scale).squeeze(2).transpose(0, 1)[None]
        logits, _ = self._logits(a, 1 - a, rows)
        blend = (1 - PROBE) * self._values[0][:, rows, None] + PROBE * self._values[0][:, None]
        if self._sigma2 is not None:
            blend = blend / self._sigma2.at(a, 1 - a, rows)[0].sqrt()[0, ..., None]
        values = (blend + self._value_offset[0][:, None]).transpose(0, 1)
        tolerance = 50 * LAW_TOLERANCE[z.dtype]
        return relative_error(logits, expected) < tolerance and relative_error(values, found.value) < tolerance

    def residual_input(self, a: Tensor, rows: Tensor) -> Tensor:
        """z_j: the target itself does not move."""
        return self._block.z[rows].expand(len(a), -1, -1)

    def at(self, a: Tensor) -> PathAt:
        """The closed form at the nodes."""
        return _ClosedAt(self, a)

    def _logits(self, a: Tensor, b: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Raw logits and their derivative by a, at nodes a with b = 1 − a: [nodes, heads, targets, sources]."""
        step = _rows(self._step, rows)
        dtype = step.dtype
        logits = _rows(self._from, rows) + a.to(dtype)[:, None, None, None] * step
        slope = step
        if self._tau2 is not None:
            if self._key_bias is None or self._bias_term is None:
                square, square_slope = self._tau2.at(a, b, rows)
            else:
                square, square_slope, sigma, sigma_slope = self._key_bias.extend(self._tau2, a, b, rows)
                bias_term = _rows(self._bias_term, rows)
                logits, slope = logits + sigma * bias_term, slope + sigma_slope * bias_term
            inverse = square.rsqrt()
            logits *= inverse
            slope = torch.addcmul(slope * inverse, logits, square_slope / square, value=-0.5)
        if self._base is not None:
            logits = logits + _rows(self._base, rows)
        return logits, slope


@dataclass(frozen=True)
class _ClosedAt:
    path: ClosedTargetPath
    a: Tensor

    def attend(self, rows: Tensor) -> Mixed:
        path, call = self.path, self.path._block.attention
        b64 = 1 - self.a
        logits, slope = path._logits(self.a, b64, rows)
        weights, cap = probabilities(call, logits, _bias_rows(call.bias, path._heads, rows))
        if cap is not None:
            slope = slope * cap
        a, b = (x.to(weights)[:, None, None, None] for x in (self.a, b64))
        values, offset = path._values, path._value_offset
        own_values = values[:, :, rows]
        if path._sigma2 is None:
            inverse = shrink = None
            shares = weights
        else:
            square, square_slope = path._sigma2.at(self.a, b64, rows)
            inverse, shrink = square.rsqrt(), square_slope / (2 * square)
            shares = weights * inverse
        heads_out = (shares @ values).mul_(a)
        heads_out += b * shares.sum(-1, keepdim=True) * own_values
        heads_out += offset if call.sinks is None else weights.sum(-1, keepdim=True) * offset

        def rates(c: Tensor) -> Tensor:
            # c_j·v_i less its bias part, and its derivative by a
            difference = c @ values.transpose(-1, -2)
            own = (c * own_values).sum(-1, keepdim=True)
            centre = (c * (heads_out - offset)).sum(-1, keepdim=True)
            difference -= own
            gain = torch.addcmul(own, difference, a)
            if inverse is not None:
                gain *= inverse
                difference *= inverse
                difference -= gain * shrink
            gain -= centre
            return _without_self(gain.mul_(slope).add_(difference).mul_(weights), rows)

        return Mixed(heads_out, rates)


@dataclass(frozen=True)
class _Quadratic:
    """(1−a)² G_jj + 2a(1−a) G_ij + a² G_ii + ε for a Gram matrix G [heads or 1, targets, sources]."""

    gram: Tensor
    diagonal: Tensor
    eps: float

    @classmethod
    def of(cls, gram: Tensor, eps: float) -> _Quadratic:
        gram = gram.reshape(-1, *gram.shape[-2:])
        return cls(gram, torch.diagonal(gram, dim1=-2, dim2=-1), eps)

    @classmethod
    def one(cls, z: Tensor) -> _Quadratic:
        """σ² = 1: a block without a norm before its projections."""
        return cls.of(z.new_zeros(1, len(z), len(z)), 1.0)

    def at(self, a: Tensor, b: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Value and derivative by a at nodes a, with b = 1 − a: [nodes, heads or 1, targets, sources]."""
        target, source = self.diagonal[:, rows, None], self.diagonal[:, None, :]
        gram = _rows(self.gram, rows)
        a4, b4 = (x.to(gram.dtype)[:, None, None, None] for x in (a, b))
        value = b4 * b4 * target + 2 * a4 * b4 * gram + a4 * a4 * source + self.eps
        slope = 2 * (b4 * (gram - target) + a4 * (source - gram))
        return value, slope


@dataclass(frozen=True)
class _KeyBias:
    """What a projection bias b before the key norm adds to τ²: 2σ·mean(K̃ b) + σ²·(mean b² + ε_k)."""

    cross: Tensor  # mean(K̃ b), [1, heads or 1, tokens]
    weight: Tensor  # mean(b²) + ε_k, [1, heads or 1, 1, 1]
    sigma2: _Quadratic

    def extend(
        self, spread2: _Quadratic, a: Tensor, b: Tensor, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """τ² and its derivative from those of mean(K̃²); σ and its derivative."""
        square, slope = spread2.at(a, b, rows)
        sigma2, sigma2_slope = self.sigma2.at(a, b, rows)
        sigma = sigma2.sqrt()
        sigma_slope = sigma2_slope / (2 * sigma)
        target, source = self.cross[:, :, rows, None], self.cross[:, :, None, :]
        a4, b4 = (x.to(square.dtype)[:, None, None, None] for x in (a, b))
        cross = b4 * target + a4 * source
        return (
            square + 2 * sigma * cross + self.weight * sigma2,
            slope + 2 * (sigma_slope * cross + sigma * (source - target)) + self.weight * sigma2_slope,
            sigma,
            sigma_slope,
        )


def _for_heads(parts: Projections, heads: Tensor, num_heads: int) -> Projections:
    """Queries, keys and values of the chosen heads, groups repeated to heads."""
    query, key, value = parts.query, repeat_groups(parts.key, num_heads), repeat_groups(parts.value, num_heads)
    if len(heads) < num_heads:
        query, key, value = query[:, heads], key[:, heads], value[:, heads]
    return Projections(query, key, value)


def _rows(x: Tensor, rows: Tensor) -> Tensor:
    """Target rows of [..., targets, sources]; all of them without a copy."""
    return x if len(rows) == x.shape[-2] else x[..., rows, :]


def _bias_rows(bias: Tensor | None, heads: Tensor, rows: Tensor) -> Tensor | None:
    """The logit bias of the chosen heads and targets, [1, heads or 1, targets, sources]."""
    if bias is None:
        return None
    if bias.shape[1] > 1:
        bias = bias[:, heads]
    return bias if bias.shape[-2] == 1 else _rows(bias, rows)


def _add_own(rate: Tensor, rows: Tensor, own: Tensor) -> Tensor:
    """Add each target's own term [nodes, heads, targets] where source = target."""
    index = torch.arange(len(rows), device=rows.device)
    rate[:, :, index, rows] += own
    return rate


def _without_self(rate: Tensor, rows: Tensor) -> Tensor:
    """The target itself does not move on its own path: its term is exactly zero."""
    index = torch.arange(len(rows), device=rows.device)
    rate[:, :, index, rows] = 0
    return rate
