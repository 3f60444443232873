"""Processors that round otherwise, drawn from a seed: what `pytest --rounding SEED` runs the tests on.

Kernels of matrix products, reductions and transcendental functions sum in an order and evaluate polynomials of their
own on every processor, library and number of threads. Here each of their results is moved by up to ULPS units in the
last place, by a pattern that the seed, the operation and the shapes decide: equal computations stay equal, as they do
on a real processor, and all others come out apart.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

ULPS = 4.0
ROUNDED = frozenset({
    "addbmm", "addmm", "addmv", "baddbmm", "bmm", "cosh", "cos", "cumsum", "dot", "erf", "exp", "exp2", "expm1", "gelu",
    "gelu_backward", "linalg_vector_norm", "log", "log1p", "logsumexp", "mean", "mm", "mv", "native_layer_norm",
    "native_layer_norm_backward", "norm", "pow", "prod", "rsqrt", "sigmoid", "silu", "silu_backward", "sin", "sinh",
    "softplus", "sum", "tan", "tanh", "tanh_backward", "var", "var_mean", "_log_softmax",
    "_log_softmax_backward_data", "_softmax", "_softmax_backward_data", "_fused_rms_norm", "_fused_rms_norm_backward",
    "_scaled_dot_product_flash_attention_for_cpu",
})  # fmt: skip
"""Operations of ATen whose last digits IEEE 754 leaves open."""


class OtherRounding(TorchDispatchMode):
    """Inside, tensors are computed on the processor of that number."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        if name not in ROUNDED:
            return found
        shapes = tuple(tuple(arg.shape) for arg in args if isinstance(arg, torch.Tensor))

        def moved(out: Any) -> Any:
            if not (isinstance(out, torch.Tensor) and out.is_floating_point() and out.device.type == "cpu"):
                return out
            key = zlib.crc32(repr((self._seed, name, shapes)).encode())
            return out * _pattern(key, tuple(out.shape), out.dtype)

        return tree_map(moved, found)


@lru_cache(4096)
def _pattern(key: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    generator = torch.Generator().manual_seed(key)
    noise = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return (1 + ULPS * torch.finfo(dtype).eps / 2 * noise).to(dtype)
