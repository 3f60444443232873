"""Attention that cannot be plugged in, found at its softmax: `intercept` for models outside the attention interface.

While a block runs, the torch functions that it calls are watched. A softmax over [..., tokens, tokens] is the
attention, the matrix product of that shape before it is q·kᵀ, and the product of its result with the values is
where head outputs appear. There the handler takes over, exactly as with `blocks.attention.intercept`: it may
record the call, leave the block, or answer with head outputs of its own.

Logits are either α q·kᵀ + const, α being found by experiment, or taken as they are: functions of pairs of tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lig_core.blocks.attention import AttentionCall, Handler, masked, repeat_groups
from lig_core.errors import UnsupportedModel

SOFTMAX = {torch.softmax, torch.nn.functional.softmax, torch.Tensor.softmax}
PRODUCT = {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm, torch.Tensor.bmm}
SUM_AND_PRODUCT = {torch.baddbmm, torch.Tensor.baddbmm}


@dataclass(frozen=True)
class SoftmaxTap:
    """The module of a block's attention, and the form of its logits.

    `scale` α: logits are α q·kᵀ plus what does not depend on the hidden state. None: logits are given for every
    pair of tokens, whatever they are made of (see AttentionCall.pairwise).
    """

    module: nn.Module
    scale: float | None

    @contextmanager
    def intercept(self, handler: Handler, hidden: Tensor) -> Iterator[None]:
        """Send the attention of a replay at hidden states [n, tokens, hidden] to `handler`."""
        with _Watch(hidden, lambda softmax: handler(self._call(softmax))):
            yield

    @contextmanager
    def answer(self, heads_out: Tensor, hidden: Tensor) -> Iterator[None]:
        """Give a replay at hidden states [n, tokens, hidden] these head outputs [n, tokens, heads, head_dim]."""
        with _Watch(hidden, lambda _: heads_out):
            yield

    def _call(self, softmax: SoftmaxCall) -> AttentionCall:
        if self.scale is None:
            nothing = softmax.logits.new_zeros(()).expand(*softmax.logits.shape[:-1], 0)
            return AttentionCall(self.module, nothing, nothing, softmax.value, 1.0, position_bias=softmax.logits)
        query, key = softmax.query, softmax.key
        assert query is not None
        assert key is not None
        constant = softmax.constant(self.scale)
        return AttentionCall(self.module, query, key, softmax.value, self.scale, position_bias=constant)


@dataclass(frozen=True)
class SoftmaxCall:
    """An attention as it was seen: [n, heads, tokens, ...], keys and values [n, groups, tokens, head_dim]."""

    query: Tensor | None
    key: Tensor | None
    value: Tensor
    logits: Tensor
    weights: Tensor

    @property
    def products(self) -> Tensor | None:
        """q·kᵀ, or None where no such product came before the softmax."""
        if self.query is None or self.key is None:
            return None
        return self.query @ repeat_groups(self.key, self.query.shape[1]).transpose(-1, -2)

    def constant(self, scale: float) -> Tensor:
        """logits − α q·kᵀ; masked logits, too large to subtract from, stay as they are."""
        products = self.products
        assert products is not None
        return torch.where(masked(self.logits), self.logits, self.logits - scale * products).detach()


def find_tap(replay: Callable[[Tensor], Tensor], block: nn.Module, z: Tensor) -> SoftmaxTap:
    """The attention of a block, from replays at hidden states [1, tokens, hidden] about z.

    Raises UnsupportedModel where there is none, or more than one.
    """
    name = type(block).__name__
    modules: list[nn.Module] = []
    running: list[nn.Module] = []
    calls: list[SoftmaxCall] = []

    def record(softmax: SoftmaxCall) -> Tensor:
        calls.append(softmax)
        modules.append(running[-1])
        return (softmax.weights @ repeat_groups(softmax.value, softmax.weights.shape[1])).transpose(1, 2)

    def enter(module: nn.Module, _args: Any) -> None:
        running.append(module)

    def leave(_module: nn.Module, _args: Any, _out: Any) -> None:
        running.pop()

    generator = torch.Generator().manual_seed(0)
    shifts = [torch.zeros_like(z), *(torch.randn(z.shape, generator=generator).to(z) for _ in range(2))]
    handles = [m.register_forward_pre_hook(enter) for m in block.modules()]
    handles += [m.register_forward_hook(leave) for m in block.modules()]
    try:
        for shift in shifts:
            with torch.no_grad(), _Watch(z, record):
                replay(z + shift * z.std())
    finally:
        for handle in handles:
            handle.remove()
    if len(calls) != len(shifts):
        raise UnsupportedModel(f"{name} has no attention that could be found, by the interface or by its softmax")
    return SoftmaxTap(modules[0], _scale(calls))


def _scale(calls: list[SoftmaxCall]) -> float | None:
    """The α of logits = α q·kᵀ + const: fitted on the first two points, checked on the third."""
    products = [softmax.products for softmax in calls]
    if any(product is None or product.shape != calls[0].logits.shape for product in products):
        return None
    free = ~masked(calls[0].logits)
    first, second = (
        ((softmax.logits - calls[0].logits)[free].double(), (product - products[0])[free].double())  # type: ignore[operator]
        for softmax, product in zip(calls[1:], products[1:], strict=True)
    )
    scale = float(first[0] @ first[1] / (first[1] @ first[1]))
    error = (second[0] - scale * second[1]).abs().max() / second[0].abs().max()
    return scale if error < (1e-9 if calls[0].logits.dtype == torch.float64 else 1e-4) else None


class _Watch(TorchFunctionMode):
    """Follows one attention from q·kᵀ to the product with the values, where `take` gives the head outputs."""

    def __init__(self, hidden: Tensor, take: Callable[[SoftmaxCall], Tensor]) -> None:
        super().__init__()
        self._batch, self._tokens, self._take = hidden.shape[0], hidden.shape[1], take
        self._product: tuple[Tensor, Tensor] | None = None
        self._logits: Tensor | None = None
        self._weights: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in SOFTMAX and self._is_square(args[0]):
            if self._logits is not None:
                raise UnsupportedModel("a block with more than one softmax over pairs of tokens is not supported")
            self._logits, self._weights = args[0], func(*args, **kwargs)
            return self._weights
        if func in PRODUCT or func in SUM_AND_PRODUCT:
            left, right = (kwargs["batch1"], kwargs["batch2"]) if "batch1" in kwargs else args[-2:]
            if self._weights is not None and self._logits is not None and self._is_square(left):
                return self._answer(self._logits, left, right)
            out = func(*args, **kwargs)
            if self._logits is None and self._is_square(out):
                self._product = left, right
            return out
        return func(*args, **kwargs)

    def _is_square(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.dim() > 2 and x.shape[-2:] == (self._tokens, self._tokens)

    def _answer(self, logits: Tensor, weights: Tensor, value: Tensor) -> Tensor:
        """Head outputs in the shape of weights @ value."""
        heads = logits.shape[1] if logits.dim() == 4 else logits.shape[0] // self._batch

        def by_head(x: Tensor) -> Tensor:
            return x if x.dim() == 4 else x.unflatten(0, (self._batch, heads))

        query, key = (None, None) if self._product is None else self._product
        self._weights = None  # what follows is the rest of the block
        out = self._take(
            SoftmaxCall(
                None if query is None else by_head(query),
                None if key is None else by_head(key.transpose(-1, -2)),
                by_head(value),
                by_head(logits),
                by_head(weights),
            )
        )
        return out.transpose(1, 2).reshape(*weights.shape[:-1], value.shape[-1])
