"""The attention function that every model is loaded with, and how a replay takes its place.

transformers routes attention through a registry; models loaded with `attn_implementation="lig"` call
`attention` below. Outside a replay it is plain softmax attention, so the model's numbers are its own.
Inside `intercept(handler)` each attention call goes to the handler instead: to record it, to stop the
block before mixing, or to answer with given head outputs.

Source: transformers, "Attention Interface" (AttentionInterface, AttentionMaskInterface).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

IMPLEMENTATION = "lig"


@dataclass(frozen=True)
class AttentionCall:
    """One call of an attention module: what it mixes and how.

    query [batch, heads, tokens, head_dim]; key and value [batch, groups, tokens, head_dim] with heads a
    multiple of groups (grouped-query attention); mask and position_bias [batch or 1, heads or 1, tokens or 1,
    tokens] are added to the logits, a boolean mask as −∞ where it is false; softcap c replaces a logit x by
    c·tanh(x/c); sinks [heads] are extra logits that take probability and give no value.

    Where logits are no products of queries and keys (`pairwise`), query and key have head_dim 0: their products
    are 0, and position_bias is all of the logits. It depends on the hidden state then, entry [j, i] on tokens j
    and i alone.
    """

    module: torch.nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    mask: Tensor | None = None
    position_bias: Tensor | None = None
    softcap: float | None = None
    sinks: Tensor | None = None

    @cached_property
    def bias(self) -> Tensor | None:
        """The term added to the logits. Made on demand: a replay that is given its head outputs has no use for it."""
        if self.mask is None:
            return self.position_bias
        mask = self.mask[..., : self.key.shape[-2]]
        if mask.dtype == torch.bool:
            blocked = torch.finfo(self.query.dtype).min
            mask = torch.zeros_like(mask, dtype=self.query.dtype).masked_fill(~mask, blocked)
        return mask if self.position_bias is None else mask + self.position_bias

    def of_heads(self, heads: Tensor) -> AttentionCall:
        """The call with the mask, bias and sinks of some heads; query, key and value are left as they are."""
        if len(heads) == self.query.shape[1]:
            return self

        def chosen(x: Tensor | None) -> Tensor | None:
            return x[:, heads] if x is not None and x.shape[1] > 1 else x

        sinks = None if self.sinks is None else self.sinks[heads]
        return replace(self, mask=chosen(self.mask), position_bias=chosen(self.position_bias), sinks=sinks)

    @property
    def pairwise(self) -> bool:
        """True if logits are given for every pair of tokens, instead of queries and keys."""
        return self.query.shape[-1] == 0


def probabilities(call: AttentionCall, logits: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Attention weights of raw scaled logits [..., heads, targets, sources], and d(logit)/d(raw logit).

    The derivative is 1 − tanh²(x/c) under soft-capping and None (meaning 1) without. `logits` is overwritten.
    """
    weights, slope = _with_sinks(call, logits, bias)
    return weights if call.sinks is None else weights[..., :-1], slope


def _with_sinks(call: AttentionCall, logits: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """The same, with the weights of the sinks behind those of the sources where there are any."""
    slope = None
    if call.softcap is not None:
        capped = torch.tanh(logits / call.softcap)
        slope = 1 - capped * capped
        logits = capped * call.softcap
    if bias is not None:
        logits = logits + bias
    if call.sinks is not None:
        sinks = call.sinks.to(logits).reshape(-1, 1, 1).expand(*logits.shape[:-1], 1)
        logits = torch.cat([logits, sinks], -1)
    return torch.softmax(logits, -1), slope


def repeat_groups(x: Tensor, heads: int) -> Tensor:
    """Keys or values [batch, groups, tokens, head_dim] as one per head [batch, heads, tokens, head_dim]."""
    return x if x.shape[-3] == heads else x.repeat_interleave(heads // x.shape[-3], dim=-3)


def _raw_logits(call: AttentionCall) -> Tensor:
    """q·kᵀ·scale [batch, heads, targets, sources]."""
    return call.query @ repeat_groups(call.key, call.query.shape[1]).transpose(-1, -2) * call.scale


def attention_weights(call: AttentionCall) -> Tensor:
    """softmax(q·kᵀ·scale + bias) of a call: [batch, heads, targets, sources]."""
    return probabilities(call, _raw_logits(call), call.bias)[0]


def self_weights(call: AttentionCall) -> tuple[Tensor, Tensor]:
    """α_jj and 1 − α_jj [heads, tokens], float64: what a token gives itself, and what all others and the sink get.

    The second is summed: where attention is saturated, subtracting from 1 leaves nothing but rounding of it.
    """
    weights = _with_sinks(call, _raw_logits(call), call.bias)[0][0].double()
    own = weights.diagonal(dim1=-2, dim2=-1).clone()
    weights.diagonal(dim1=-2, dim2=-1).zero_()
    return own, weights.sum(-1)


def logit_range(call: AttentionCall) -> Tensor:
    """The difference between a target's largest and smallest logit of what it sees: [batch, heads, targets]."""
    logits = _raw_logits(call)
    if call.bias is not None:
        logits = logits + call.bias
    hidden = masked(logits)
    lowest, highest = logits.masked_fill(hidden, torch.inf).amin(-1), logits.masked_fill(hidden, -torch.inf).amax(-1)
    return (highest - lowest).clamp_min(0)


def masked(logits: Tensor) -> Tensor:
    """True for the logits that are so low that they stand for a mask."""
    return logits < torch.finfo(logits.dtype).min / 1e6


def visible_range(call: AttentionCall, targets: Tensor) -> Tensor | None:
    """The first and the last source that each target (on the host) sees in some head [2, targets], itself among them.

    None where every target sees every source, and where some target does not see all between its first and last.
    """
    if call.bias is None:
        return None
    count = call.key.shape[-2]
    seen = (~masked(call.bias[0])).any(0).cpu().expand(count, count)[targets]  # [targets, sources]
    seen = seen | (torch.arange(count) == targets[:, None])  # the residual connection has no mask
    ends = torch.stack([seen.int().argmax(-1), count - 1 - seen.flip(-1).int().argmax(-1)])
    whole = bool((ends[1] - ends[0] + 1 == seen.sum(-1)).all())
    return ends if whole and not bool(seen.all()) else None


def attend(call: AttentionCall) -> Tensor:
    """Head outputs o = softmax(q·kᵀ·scale + bias)·v of a call: [batch, tokens, heads, head_dim]."""
    value = repeat_groups(call.value, call.query.shape[1])
    return (attention_weights(call) @ value).transpose(1, 2).contiguous()


Handler = Callable[[AttentionCall], Tensor]
_handler: ContextVar[Handler] = ContextVar("lig_attention_handler", default=attend)


@contextmanager
def intercept(handler: Handler) -> Iterator[None]:
    """Send every attention call of this thread to `handler`, which returns [batch, tokens, heads, head_dim]."""
    token = _handler.set(handler)
    try:
        yield
    finally:
        _handler.reset(token)


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    position_bias: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The function registered with transformers; the signature is the registry's."""
    call = AttentionCall(
        module=module,
        query=query,
        key=key,
        value=value,
        scale=query.shape[-1] ** -0.5 if scaling is None else float(scaling),
        mask=attention_mask,
        position_bias=position_bias,
        softcap=softcap,
        sinks=s_aux,
    )
    return _handler.get()(call), None


def register() -> None:
    """Make `attn_implementation="lig"` known to transformers.

    The mask function must be registered too: without it models pass no mask at all.
    """
    AttentionInterface.register(IMPLEMENTATION, attention)
    AttentionMaskInterface.register(IMPLEMENTATION, eager_mask)
