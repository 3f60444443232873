"""Finding a model's transformer blocks and recording one call of each, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache

from lig_core.blocks.attention import AttentionCall
from lig_core.errors import UnsupportedModel

Tiling = Literal["none", "floats", "all", "heads"]
"""The captured one-text tensors that a replay on several sequences repeats; they differ from family to family.

`heads`: those with one row per head of each text, [heads, 1, tokens], such as ALiBi's.
"""


@dataclass(frozen=True)
class BlockCall:
    """One recorded call of one block for one text: module, arguments, output.

    `slot` says which argument is the hidden state z: a position or a keyword.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    slot: int | str
    z: Tensor  # [1, tokens, hidden]
    out: Tensor  # [1, tokens, hidden]

    def replay(self, hidden: Tensor, tiling: Tiling) -> Tensor:
        """The block's output at other hidden states [n, tokens, hidden], everything else as captured."""
        count = hidden.shape[0]

        def tile(x: Tensor) -> Tensor:
            if tiling == "heads":
                return x.repeat(count, 1, 1) if has_rows_per_head(x) else x
            wanted = tiling == "all" or (tiling == "floats" and x.is_floating_point())
            return x.expand(count, *x.shape[1:]) if wanted and x.dim() > 1 and x.shape[0] == 1 else x

        args = [map_tensors(value, tile) for value in self.args]
        kwargs = {name: map_tensors(value, tile) for name, value in self.kwargs.items()}
        if isinstance(self.slot, int):
            args[self.slot] = hidden
        else:
            kwargs[self.slot] = hidden
        return first_tensor(self.module(*args, **kwargs))

    @property
    def texts(self) -> Tensor | None:
        """The text that each token is of [tokens]; None where there is one."""
        return None

    def separated(self, attention: AttentionCall) -> AttentionCall:
        """An attention call of this block: as it is, for the call is of one text."""
        return attention


def capture_blocks(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[list[BlockCall]]:
    """Run the model once; for each text of the batch, the calls of its blocks in layer order.

    Blocks are the outermost repeated modules that were called as often as the config has layers (one
    module called many times, as in ALBERT, counts) and hand their outputs on to each other: in some models
    the halves of a block are lists of their own (XLM). Raises UnsupportedModel when there are none.
    """
    batch = len(next(iter(inputs.values())))
    calls, slots = recorded_blocks(model, inputs)
    return [[_select(call, slot, b, batch) for call, slot in zip(calls, slots, strict=True)] for b in range(batch)]


def recorded_blocks(model: nn.Module, inputs: Mapping[str, Tensor]) -> tuple[list[Record], list[int | str]]:
    """Run the model once: the recorded calls of its blocks in layer order, and which argument of each is z."""
    records = _record(model, inputs)
    shape = next(iter(inputs.values())).shape
    depth = text_config(model).num_hidden_layers
    by_class: dict[type[nn.Module], list[Record]] = {}
    for record in records:
        by_class.setdefault(type(record.module), []).append(record)
    for calls in by_class.values():  # insertion order: outermost first
        slots = [slot for call in calls if (slot := _hidden_slot(call, (shape[0], shape[1]))) is not None]
        if len(calls) == len(slots) == depth and _chained(calls, slots):
            return calls, slots
    counts = ", ".join(f"{kind.__name__} ×{len(calls)}" for kind, calls in by_class.items()) or "none"
    raise UnsupportedModel(
        f"{type(model).__name__}: no repeated module was called {depth} times with a hidden state that the next call "
        f"goes on from (seen: {counts})"
    )


def text_config(model: nn.Module) -> Any:
    """The part of a model's config that describes its text layers."""
    config: Any = model.config
    return config.get_text_config()


@dataclass
class Record:
    """One call as it was seen: of all texts of a batch."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any = None


def _record(model: nn.Module, inputs: Mapping[str, Tensor]) -> list[Record]:
    repeated = {
        id(child): child
        for parent in model.modules()
        if isinstance(parent, nn.ModuleList)
        for child in parent
        if child is not None
    }
    records: list[Record] = []
    running: list[Record] = []

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        records.append(Record(module, args, dict(kwargs)))
        running.append(records[-1])

    def leave(_module: nn.Module, _args: Any, _kwargs: Any, out: Any) -> None:
        running.pop().out = out

    handles = [m.register_forward_pre_hook(enter, with_kwargs=True) for m in repeated.values()]
    handles += [m.register_forward_hook(leave, with_kwargs=True) for m in repeated.values()]
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return records


def has_rows_per_head(x: Tensor) -> bool:
    """True for [texts·heads, 1, tokens], such as ALiBi's."""
    return x.dim() == 3 and x.is_floating_point() and x.shape[0] > 1 and x.shape[1] == 1


def _hidden_slot(call: Record, shape: tuple[int, int]) -> int | str | None:
    """The place at which a call takes hidden states [batch, tokens, hidden]: a position, a keyword, or nowhere."""

    def is_hidden(value: Any) -> bool:
        return isinstance(value, Tensor) and value.dim() == 3 and value.is_floating_point() and value.shape[:2] == shape

    for position, value in enumerate(call.args):
        if is_hidden(value):
            return position
    return next((name for name, value in call.kwargs.items() if is_hidden(value)), None)


def _chained(calls: Sequence[Record], slots: Sequence[int | str]) -> bool:
    """True if some call's output is the next one's hidden state; not all need be (DeBERTa-v2 may convolve once)."""
    pairs = list(zip(calls, calls[1:], slots[1:], strict=False))
    outputs = ((first_tensor(call.out), _hidden(later, slot)) for call, later, slot in pairs)
    return not pairs or any(out.shape == z.shape and bool((out.to(z.device) == z).all()) for out, z in outputs)


def _hidden(call: Record, slot: int | str) -> Tensor:
    return call.args[slot] if isinstance(slot, int) else call.kwargs[slot]


def _select(call: Record, slot: int | str, text: int, batch: int) -> BlockCall:
    def pick(x: Tensor) -> Tensor:
        if x.dim() > 1 and x.shape[0] == batch:
            return x[text : text + 1].detach()
        if has_rows_per_head(x) and x.shape[0] % batch == 0:
            return x.detach().unflatten(0, (batch, -1))[text]
        return x.detach()

    args = tuple(map_tensors(value, pick) for value in call.args)
    kwargs = {name: map_tensors(value, pick) for name, value in call.kwargs.items()}
    z = args[slot] if isinstance(slot, int) else kwargs[slot]
    return BlockCall(call.module, args, kwargs, slot, z, pick(first_tensor(call.out)))


def map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """`value` with every tensor inside changed; caches are dropped, for a replay must not grow them."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, tuple | list):
        return type(value)(map_tensors(item, change) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    return None if isinstance(value, Cache) or type(value).__name__.endswith("Cache") else value


def first_tensor(output: Tensor | Sequence[Tensor]) -> Tensor:
    """A block's hidden state: its output, or the first of its outputs."""
    return output if isinstance(output, Tensor) else output[0]
