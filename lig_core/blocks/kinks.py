"""Blocks whose derivative jumps: activations with a kink, and tokens that change their experts."""

from __future__ import annotations

from torch import nn

KINKED = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.Threshold,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Hardshrink,
    nn.Softshrink,
)
ROUTING = ("top_k", "num_experts")
"""What parts that route tokens to experts know."""


def routes(module: nn.Module) -> bool:
    """True if some part of a block routes tokens to experts: where one changes them, the block's output jumps."""
    return any(hasattr(part, name) for part in module.modules() for name in ROUTING)


def has_kinks(module: nn.Module) -> bool:
    """True if some part of a block is an activation with a kink, or routes."""
    return any(isinstance(part, KINKED) for part in module.modules()) or routes(module)
