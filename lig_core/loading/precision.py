"""Real float64: models that ask for float32 inside, in norms, softmax or rotary embeddings, get float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


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
