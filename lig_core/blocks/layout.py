"""The layout of a block, by experiment: where its norms stand, and whether tokens see later ones.

Nothing is computed from it; it is what `describe_boundaries` says of a loaded model, whatever its family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lig_core.blocks.attention import attention_weights
from lig_core.blocks.block import REPLAY_TOLERANCE, Block, relative_error
from lig_core.blocks.patching import linear_width
from lig_core.contract import Norms

Step = Literal["norm", "gate"]
"""What stands between the head outputs and their projection: a norm of them (BitNet), or a factor that the token's own
z sets (Qwen3-Next)."""


@dataclass(frozen=True)
class Layout:
    """The places of a block's norms (None: none of the known ones), whether it is causal, and a step within attention.

    `step` is None where the output projection is given the head outputs themselves.
    """

    norms: Norms | None
    causal: bool
    step: Step | None = None


@torch.no_grad()
def find_layout(block: Block) -> Layout:
    """The layout of a block, from replays about the text it was captured at."""
    sees_later_tokens = attention_weights(block.attention).triu(1).any()
    step = _step(block)
    return Layout(_norms(block, step), causal=not sees_later_tokens, step=step)


def _step(block: Block) -> Step | None:
    """Whether what the attention module projects after its mixing are head outputs, or what a step made of them."""
    if block.wiring.residual is None:
        return None
    given, others = (_given(block, heads) for heads in (block.heads_out, block.heads_out.flip(0)))
    projected = [x for x, other in zip(given, others, strict=True) if not _same(other, x)]
    mixed = block.heads_out.flatten(1)
    if not projected or any(x.shape == mixed.shape and _same(x, mixed) for x in projected):
        return None
    return "gate" if _affine(lambda o: block.residual_stream(o, block.z), block.heads_out) else "norm"


def _given(block: Block, heads: Tensor) -> list[Tensor]:
    """The inputs [rows, ..] of the linear maps in the attention module, when it goes on from head outputs."""
    inputs: list[Tensor] = []

    def note(_module: nn.Module, args: tuple[Any, ...]) -> None:
        inputs.append(args[0].reshape(-1, args[0].shape[-1])[: len(heads)].clone())

    linears = [m for m in block.attention.module.modules() if linear_width(m) is not None]
    handles = [linear.register_forward_pre_hook(note) for linear in linears]
    try:
        block.finish(heads, block.z)
    finally:
        for handle in handles:
            handle.remove()
    return inputs


def _norms(block: Block, step: Step | None) -> Norms | None:
    """A norm makes what is linear without it something else: so each place is tested for linearity."""
    if block.wiring.parallel:
        return "parallel"
    if block.wiring.residual is None:
        return None
    heads, z = block.heads_out, block.z
    before = not _affine(lambda x: block.project(x[None]).value, z)
    after = not _affine(lambda o: block.residual_stream(o, torch.zeros_like(z)), heads)
    if not after or step == "norm":
        return "pre" if before else None
    if _affine(lambda x: block.residual_stream(heads, x), z):  # what attention adds is normed before it meets z
        return "sandwich" if before else "reordered"
    return None if before else "post"


def _affine(function: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """True if f(x) + f(y) = f(x + y) + f(0), y being x with its tokens turned round."""
    y = x.flip(0)
    return _same(function(x) + function(y), function(x + y) + function(torch.zeros_like(x)))


def _same(actual: Tensor, expected: Tensor) -> bool:
    return relative_error(actual, expected) <= REPLAY_TOLERANCE[expected.dtype]
