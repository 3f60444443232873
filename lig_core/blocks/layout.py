"""The layout of a block, by experiment: where its norms stand, and whether tokens see later ones.

Nothing is computed from it; it is what `describe_boundaries` says of a loaded model, whatever its family.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.blocks.attention import attention_weights
from lig_core.blocks.block import REPLAY_TOLERANCE, Block, relative_error
from lig_core.contract import Norms


@dataclass(frozen=True)
class Layout:
    """The places of a block's norms (None: none of the known ones), and whether it is causal."""

    norms: Norms | None
    causal: bool


@torch.no_grad()
def find_layout(block: Block) -> Layout:
    """The layout of a block, from replays about the text it was captured at."""
    sees_later_tokens = attention_weights(block.attention).triu(1).any()
    return Layout(_norms(block), causal=not sees_later_tokens)


def _norms(block: Block) -> Norms | None:
    """A norm makes what is linear without it something else: so each place is tested for linearity."""
    if block.wiring.parallel:
        return "parallel"
    if block.wiring.residual is None:
        return None
    heads, z = block.heads_out, block.z
    before = not _affine(lambda x: block.project(x[None]).value, z)
    after = not _affine(lambda o: block.residual_stream(o, torch.zeros_like(z)), heads)
    if not after:
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
