"""Real float64: models that ask for float32 inside, in norms, softmax or rotary embeddings, get float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lig_core.blocks.attention import attend
from lig_core.blocks.block import Block, WholeBlock, recorded_attention
from lig_core.blocks.capture import BlockCall, map_tensors
from lig_core.errors import OutOfMemory

Facts = TypeVar("Facts")
MOST_BYTES = 2**31
"""Of the weights of a copied block."""


class _Float64(TorchFunctionMode):
    """Turns every explicit request for float32 made inside model code into float64."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.float:
            func = torch.Tensor.double
        return func(*map(_widened, args), **{name: _widened(value) for name, value in (kwargs or {}).items()})


def _widened(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


def working_precision(dtype: torch.dtype) -> AbstractContextManager[Any]:
    """A context in which a model of this dtype really computes in it."""
    return _Float64() if dtype == torch.float64 else nullcontext()


def in_float64(block: Block, facts: Facts) -> tuple[Block, Facts]:
    """The same block at the same z with the same weights, in float64, and what is known of its layer.

    The module is copied; `facts` may refer to parts of it, and then refer to those of the copy. Made and used in
    `working_precision(torch.float64)`. Raises OutOfMemory where its weights would take more than MOST_BYTES.
    """
    _require_room(block)
    module, wiring, facts = deepcopy((block.call.module, block.wiring, facts))
    call = _call_in_float64(block.call, module)
    attention, out = recorded_attention(call, wiring.tiling, wiring.tap)
    call = replace(call, out=out)
    return Block(call, wiring.tiling, block.replay_error, wiring, attention, attend(attention)[0]), facts


def whole_in_float64(block: WholeBlock) -> WholeBlock:
    """The same of a block that does not split."""
    _require_room(block)
    call = _call_in_float64(block.call, deepcopy(block.call.module))
    with torch.no_grad():
        return replace(block, call=replace(call, out=call.replay(call.z, block.tiling)))


def _require_room(block: WholeBlock) -> None:
    size = sum(8 * parameter.numel() for parameter in block.call.module.parameters())
    if size > MOST_BYTES:
        raise OutOfMemory(f"a block of {size} bytes in float64 is not copied")


def _call_in_float64(call: BlockCall, module: nn.Module) -> BlockCall:
    """The same call of a copy of its module, both in float64."""
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if hasattr(config, "_experts_implementation"):
            config._experts_implementation = "eager"  # the grouped kernels have no float64
    return replace(with_wide_arguments(call), module=module.double())


def with_wide_arguments(call: BlockCall) -> BlockCall:
    """The same call with its arguments in float64; what stands for −∞ in a mask still does."""
    args, kwargs = map_tensors(call.args, _wide), map_tensors(dict(call.kwargs), _wide)
    return replace(call, args=args, kwargs=kwargs, z=call.z.double())


def _wide(x: Tensor) -> Tensor:
    if not x.is_floating_point():
        return x
    blocked = x <= torch.finfo(x.dtype).min
    return x.double().masked_fill(blocked, torch.finfo(torch.float64).min)
