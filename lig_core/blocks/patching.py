"""Modules whose calls are changed while a block is replayed: linear maps left out, outputs and inputs replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def linear_width(module: nn.Module) -> int | None:
    """Output features of a linear map, None for any other module."""
    if isinstance(module, nn.Linear):
        return module.out_features
    return int(module.nf) if isinstance(module, Conv1D) else None


@contextmanager
def skipping(linears: tuple[nn.Module, ...]) -> Iterator[None]:
    """Let the given linear maps return zeros without computing; their results are known to be unused."""

    # One for all of a kind: calls cost more than arithmetic on nothing.
    zeros: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def nothing(width: int) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            kind = x.dtype, x.device
            if kind not in zeros:
                zeros[kind] = x.new_zeros(())
            return zeros[kind].expand(*x.shape[:-1], width)

        return forward

    own = {module: module.__dict__.get("forward") for module in linears}  # accelerate puts one there
    for module in linears:
        width = linear_width(module)
        assert width is not None
        module.forward = nothing(width)
    try:
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                del module.forward
            else:
                module.forward = forward


@contextmanager
def replacing_output(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the (first) output of `module` by `change(output)`."""

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return change(output)
        return type(output)([change(output[0]), *output[1:]])

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def changing_input(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the first argument of `module` by `change(argument)`."""
    handle = module.register_forward_pre_hook(lambda _module, args: (change(args[0]), *args[1:]))
    try:
        yield
    finally:
        handle.remove()
