"""Scalar laws of the part before attention, found by experiment: why paths need no projections at each node.

Queries, keys and values are a norm followed by a linear map (and, for keys and queries, possibly a rotary
embedding or a second norm). For such a map f,

    (f(x) − f(0)) · σ(x)   is linear in x,     σ(x) = √(mean(x²) + ε)  (RMSNorm; LayerNorm: of x − mean x; no norm: 1),

so along a straight path only the scalar σ has to be followed. Which σ, which ε, which rotary layout: each is
accepted only if additivity on z, y and z + y holds, at normal amplitude and at amplitude √ε (only the
second sees ε), and every use is verified once more on exact rows of the path (see the paths in engines).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lig_core.blocks.block import Block, Projections, relative_error
from lig_core.blocks.patching import linear_width

USUAL_EPSILONS = (1e-5, 1e-6)
LAW_TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}
"""Largest relative error at which a law counts as exact: rounding, amplified by the small-amplitude probe."""


@dataclass(frozen=True)
class NormLaw:
    """σ(x) of a norm over the last dimension; kind `none` is σ = 1 (a post-norm block)."""

    kind: Literal["none", "rms", "layer"]
    eps: float = 0.0

    def centred(self, x: Tensor) -> Tensor:
        """x, less its mean for LayerNorm."""
        return x - x.mean(-1, keepdim=True) if self.kind == "layer" else x

    def mean_square(self, x: Tensor) -> Tensor:
        """mean(x²) of the (centred) vectors [..., dim] → [...]."""
        return self.centred(x).pow(2).mean(-1)

    def sigma(self, x: Tensor) -> Tensor:
        """σ of vectors [..., dim] → [..., 1]."""
        if self.kind == "none":
            return torch.ones_like(x[..., :1])
        return (self.mean_square(x) + self.eps).sqrt().unsqueeze(-1)

    def gram(self, x: Tensor) -> Tensor:
        """Scalar products over the dimension: [..., tokens, dim] → [..., tokens, tokens]."""
        x = self.centred(x)
        return x @ x.transpose(-1, -2) / x.shape[-1]


@dataclass(frozen=True)
class KeyNorm:
    """A second norm, on the keys after projection (QK-norm): its module, its σ, and which axis of its input is tokens.

    [1, tokens, groups·head_dim] (over all heads), [1, tokens, groups, head_dim] or [1, groups, tokens, head_dim].
    """

    module: nn.Module
    norm: NormLaw
    tokens_axis: Literal[1, 2]


@dataclass(frozen=True)
class Positions:
    """The turn of a key's content at position i.

    none      not at all
    rotary    by unit phases on the first `dims` dimensions, paired as two halves or interleaved
    opaque    unknown: replay each token's content at every position (once per text; exact, T² projections)
    """

    kind: Literal["none", "rotary", "opaque"]
    layout: Literal["halves", "interleaved"] = "halves"
    dims: int = 0

    def complex(self, x: Tensor) -> Tensor:
        """The turned dimensions of [..., head_dim] as complex numbers [..., dims/2]."""
        x = x[..., : self.dims]
        if self.layout == "halves":
            real, imaginary = x.chunk(2, -1)
        else:
            real, imaginary = x[..., 0::2], x[..., 1::2]
        return torch.complex(real.contiguous(), imaginary.contiguous())


@dataclass(frozen=True)
class PathLaws:
    """The laws of one layer. `shared` says that queries and keys follow `norm` too, as the values do."""

    norm: NormLaw
    shared: bool
    key_norm: KeyNorm | None
    positions: Positions


@torch.no_grad()
def find_laws(block: Block) -> PathLaws | None:
    """The laws of a block's layer, or None where no norm-and-linear law holds (use the general paths then)."""
    probe = _Probe(block)
    norm = next((law for law in _candidates(block) if probe.values_follow(law)), None)
    if norm is None:
        return None
    shared = probe.all_follow(norm)
    key_norm = None
    if not shared:
        key_norm = next((k for k in _key_norms(block) if probe.keys_follow(norm, k)), None)
        if key_norm is None:
            return None
    return PathLaws(norm, shared, key_norm, find_positions(block))


def _candidates(block: Block) -> Iterator[NormLaw]:
    yield NormLaw("none")
    for eps in _epsilons(block.call.module):
        yield NormLaw("rms", eps)
        yield NormLaw("layer", eps)


def _epsilons(module: nn.Module) -> list[float]:
    """Every ε that a norm inside the module declares, then those that are usual, for it need not (OLMo's does not)."""
    names = ("eps", "variance_epsilon", "epsilon", "layer_norm_eps")
    attributes = (getattr(m, name, None) for m in module.modules() for name in names)
    return list(dict.fromkeys([*(value for value in attributes if isinstance(value, float)), *USUAL_EPSILONS]))


class _Probe:
    """Projections at 0 and at x, y, x + y, at normal amplitude and at √ε."""

    def __init__(self, block: Block) -> None:
        self.block = block
        generator = torch.Generator().manual_seed(0)
        self.x = block.z
        self.y = torch.randn(block.z.shape, generator=generator).to(block.z) * block.z.std()
        self.zero = block.project(torch.zeros_like(block.z)[None])
        self.tolerance = LAW_TOLERANCE[block.z.dtype]

    def values_follow(self, law: NormLaw) -> bool:
        return self._additive(law, ("value",))

    def all_follow(self, law: NormLaw) -> bool:
        return self._additive(law, ("query", "key", "value"))

    def _additive(self, law: NormLaw, names: tuple[str, ...]) -> bool:
        return all(self._error(law, x, y, names) < self.tolerance for x, y in self.amplitudes(law))

    def amplitudes(self, law: NormLaw) -> Iterator[tuple[Tensor, Tensor]]:
        """Probe vectors at normal size, and where σ is about √(2ε)."""
        yield self.x, self.y
        if law.kind != "none":
            small = law.eps**0.5 / self.x.std()
            yield small * self.x, small * self.y

    def _error(self, law: NormLaw, x: Tensor, y: Tensor, names: tuple[str, ...]) -> float:
        at = {point: self.block.project(vectors[None]) for point, vectors in (("x", x), ("y", y), ("xy", x + y))}

        def scaled(point: str, vectors: Tensor, name: str) -> Tensor:
            moved: Tensor = getattr(at[point], name) - getattr(self.zero, name)
            return moved * law.sigma(vectors)

        return max(
            relative_error(scaled("x", x, name) + scaled("y", y, name), scaled("xy", x + y, name)) for name in names
        )

    def keys_follow(self, norm: NormLaw, key_norm: KeyNorm) -> bool:
        """True if (k − its norm's bias)·ρ·σ is additive up to the zero input's share, ρ being the key norm's σ."""
        offset = key_at_zero_norm_input(self.block, key_norm)

        def scaled(vectors: Tensor) -> Tensor:
            raw, projections = norm_input(self.block, key_norm, vectors)
            return (projections.key - offset) * key_norm.norm.sigma(raw)

        base = scaled(torch.zeros_like(self.x))
        errors = []
        for x, y in self.amplitudes(norm):
            parts = [(scaled(v) - base) * norm.sigma(v) for v in (x, y, x + y)]
            errors.append(relative_error(parts[0] + parts[1], parts[2]))
        return max(errors) < self.tolerance


def _key_norms(block: Block) -> Iterator[KeyNorm]:
    """Modules before the attention whose input is a linear map of the normed stream and has the keys' size."""
    attention = block.attention.module
    inputs: dict[nn.Module, Tensor] = {}
    handles = [
        m.register_forward_pre_hook(lambda m, args: inputs.update({m: args[0]}))
        for m in attention.modules()
        if m is not attention and linear_width(m) is None
    ]
    try:
        block.project(torch.cat([block.z[:-1], -block.z[-1:]])[None])
        last_altered = dict(inputs)
        block.project(block.z[None])
    finally:
        for handle in handles:
            handle.remove()
    size = block.attention.key.numel()
    for module, raw in inputs.items():
        if not isinstance(raw, Tensor) or raw.numel() != size:
            continue
        axis = _tokens_axis(raw, last_altered[module], block.num_tokens)
        for eps in _epsilons(module):
            for kind in ("rms", "layer"):
                yield KeyNorm(module, NormLaw(kind, eps), axis)


def _tokens_axis(raw: Tensor, last_altered: Tensor, tokens: int) -> Literal[1, 2]:
    """Of an input [1, …, …, head_dim], and of that with another last token: heads may be as many as tokens."""
    change = (last_altered - raw).abs()
    elsewhere = change[:, :-1]
    only_last = elsewhere.numel() == 0 or bool(elsewhere.max() < 1e-3 * change.max())
    return 1 if raw.shape[1] == tokens and only_last else 2


def norm_input(block: Block, key_norm: KeyNorm, vectors: Tensor) -> tuple[Tensor, Projections]:
    """κ, the input of the key norm at a hidden state [tokens, hidden], and the projections made there.

    κ is [1, groups, tokens, head_dim] for a norm per head, [1, 1, tokens, groups·head_dim] for one over all.
    """
    inputs: list[Tensor] = []
    handle = key_norm.module.register_forward_pre_hook(lambda _module, args: inputs.append(args[0].detach()))
    try:
        projections = block.project(vectors[None])
    finally:
        handle.remove()
    # One module may norm the queries, too, before the keys (Llama 4).
    raw = next(x for x in reversed(inputs) if x.numel() == projections.key.numel())
    if raw.dim() == 3:
        return raw.unsqueeze(1), projections
    return (raw.transpose(1, 2) if key_norm.tokens_axis == 1 else raw), projections


def key_at_zero_norm_input(block: Block, key_norm: KeyNorm) -> Tensor:
    """The keys when the key norm gets zeros: its own bias, turned to each position [1, groups, tokens, head_dim]."""
    handle = key_norm.module.register_forward_pre_hook(lambda _module, args: (torch.zeros_like(args[0]), *args[1:]))
    try:
        return block.project(block.z[None]).key
    finally:
        handle.remove()


@torch.no_grad()
def find_positions(block: Block) -> Positions:
    """The turn of keys with position: read off two replays of constant sequences."""
    tolerance = 10 * LAW_TOLERANCE[block.z.dtype]
    middle = block.z[block.num_tokens // 2].expand_as(block.z)
    other = block.z[:1].expand_as(block.z) + 0.3 * middle
    first, second = (block.project(sequence[None]).key for sequence in (middle, other))
    if relative_error(first[:, :, :1].expand_as(first), first) < tolerance:
        return Positions("none")
    head_dim = first.shape[-1]
    for dims in range(head_dim, 0, -2):
        still = first[..., dims:]
        if still.numel() and relative_error(still[:, :, :1].expand_as(still), still) > tolerance:
            break  # those dimensions turn as well
        for layout in ("halves", "interleaved"):
            positions = Positions("rotary", layout, dims)
            content = positions.complex(second)
            if relative_error(content[:, :, :1] * phases(positions, first), content) < tolerance:
                return positions
    return Positions("opaque")


def phases(positions: Positions, constant: Tensor) -> Tensor:
    """Unit phases e^{i(θ_p − θ_0)} [1, 1, tokens, dims/2] from the keys of a constant sequence."""
    content = positions.complex(constant)
    turned = (content * content[:, :, :1].conj()).sum(1, keepdim=True)
    return turned / turned.abs().clamp_min(torch.finfo(constant.dtype).tiny)
