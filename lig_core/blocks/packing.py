"""Several texts in one sequence: the calls of a layer packed, so that what one text costs in calls all of them cost.

Packing is that of training: token by token nothing changes, and a mask keeps every token from other texts'. Here it is
made of recorded calls: a batch of padded texts goes through the model once, then each argument of each block is cut to
its texts and put together along its token dimensions. Those are told by their size: texts are padded to a length that
is no other size in the model (`padded_length`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from lig_core.blocks.attention import AttentionCall
from lig_core.blocks.capture import (
    BlockCall,
    Record,
    first_tensor,
    has_rows_per_head,
    map_tensors,
    recorded_blocks,
    text_config,
)


class NotPackedError(Exception):
    """A block whose calls don't pack: its texts are to be computed one by one."""


@dataclass(frozen=True)
class PackedCall(BlockCall):
    """A call of one block for several texts in one sequence; `lengths` of the texts, in tokens."""

    lengths: tuple[int, ...] = ()

    @property
    def spans(self) -> list[slice]:
        """The tokens of each text."""
        ends = list(itertools.accumulate(self.lengths))
        return [slice(end - length, end) for end, length in zip(ends, self.lengths, strict=True)]

    @cached_property
    @override
    def texts(self) -> Tensor:
        lengths = torch.tensor(self.lengths, device=self.z.device)
        return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)

    @override
    def separated(self, attention: AttentionCall) -> AttentionCall:
        """The attention call with every token kept from other texts' tokens."""
        together = (self.texts[:, None] == self.texts)[None, None]
        blocked = torch.finfo(attention.value.dtype).min
        if attention.mask is None:
            mask = torch.zeros_like(together, dtype=attention.value.dtype).masked_fill(~together, blocked)
        elif attention.mask.dtype == torch.bool:
            mask = attention.mask & together
        else:
            mask = torch.where(together, attention.mask, blocked)
        return replace(attention, mask=mask)


def padded_length(model: nn.Module, longest: int, texts: int) -> int:
    """The least length, not under `longest`, that is no other size in the model or its calls."""
    tensors = itertools.chain(model.parameters(), model.buffers())
    sizes = {size for tensor in tensors for size in tensor.shape}
    sizes |= {value for value in vars(text_config(model)).values() if isinstance(value, int)}
    sizes |= {size * texts for size in sizes} | {size // 2 for size in sizes} | {texts}
    return next(length for length in itertools.count(longest) if length not in sizes)


def capture_packed(
    model: nn.Module, inputs: Mapping[str, Tensor], lengths: Sequence[int], padding: int, limit: int | None = None
) -> list[PackedCall]:
    """Run the model once on padded texts: the packed call of each layer. `padding` is the id of padding tokens.

    Raises NotPackedError where an argument has no place for that.
    """
    batch, longest = next(iter(inputs.values())).shape
    padded = padded_length(model, longest, batch)
    if limit is not None and padded > limit:
        raise NotPackedError(f"no length up to the model's {limit} tokens serves to tell them by")
    fill = {"input_ids": padding}
    inputs = {name: functional.pad(x, (0, padded - longest), value=fill.get(name, 0)) for name, x in inputs.items()}
    records, slots = recorded_blocks(model, inputs)
    return [_packed(record, slot, batch, padded, tuple(lengths)) for record, slot in zip(records, slots, strict=True)]


def _packed(record: Record, slot: int | str, batch: int, padded: int, lengths: tuple[int, ...]) -> PackedCall:
    def pack(x: Tensor) -> Tensor:
        return _pack(x.detach(), batch, padded, lengths)

    args = tuple(map_tensors(value, pack) for value in record.args)
    kwargs: dict[str, Any] = {name: map_tensors(value, pack) for name, value in record.kwargs.items()}
    z = args[slot] if isinstance(slot, int) else kwargs[slot]
    return PackedCall(record.module, args, kwargs, slot, z, pack(first_tensor(record.out)), lengths)


def _pack(x: Tensor, batch: int, padded: int, lengths: Sequence[int]) -> Tensor:
    """One argument, its texts one after the other; what is between two texts is masked."""
    dims = [dim for dim, size in enumerate(x.shape) if size == padded]
    by_head = has_rows_per_head(x) and x.shape[0] % batch == 0
    of_texts = by_head or (x.dim() > 1 and x.shape[0] == batch)
    if not dims:
        if of_texts and batch > 1:
            raise NotPackedError(f"an argument {list(x.shape)} has texts and no tokens")
        return x
    pieces = []
    for text, length in enumerate(lengths):
        piece = x
        if by_head:
            piece = x.unflatten(0, (batch, -1))[text]
        elif of_texts:
            piece = x[text : text + 1]
        for dim in dims:
            piece = piece.narrow(dim, 0, length)
        pieces.append(piece)
    if len(dims) == 1:
        return torch.cat(pieces, dims[0])
    if len(dims) > 2 or not (x.is_floating_point() or x.dtype == torch.bool):
        raise NotPackedError(f"an argument {list(x.shape)} of {x.dtype} is about {len(dims)} tokens at once")
    shape = list(pieces[0].shape)
    for dim in dims:
        shape[dim] = sum(lengths)
    whole = x.new_full(shape, False if x.dtype == torch.bool else torch.finfo(x.dtype).min)
    start = 0
    for piece, length in zip(pieces, lengths, strict=True):
        place = whole
        for dim in dims:
            place = place.narrow(dim, start, length)
        place.copy_(piece)
        start += length
    return whole
