"""One transformer layer frozen at one text, split where LIG needs it: pre | mix | post.

pre    z → q, k, v                 token by token (norms, projections, rotary embedding, QK-norm)
mix    o = softmax(q·kᵀ + bias)·v  the only place where tokens meet
post   o, z → z'                   token by token (output projection, residuals, norms, MLP or experts)

No model code is copied: each part is the model's own block, replayed with its attention intercepted.
Everything is checked against the model's own numbers before it is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NoReturn, Self

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from lig_core.blocks.attention import AttentionCall, Handler, attend, intercept
from lig_core.blocks.capture import BlockCall, Tiling
from lig_core.blocks.kinks import has_kinks, routes
from lig_core.blocks.patching import changing_input, replacing_output, skipping
from lig_core.blocks.softmax_tap import SoftmaxTap
from lig_core.errors import UnsupportedMap, UnsupportedModel

REPLAY_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Largest difference between a replay and the model's own output, relative to the largest output."""


@dataclass(frozen=True)
class Residual:
    """The place at which u, the stream after attention, can be put into a replay.

    Replacing the output of `module` by u, with a zero hidden state, gives the block's output from u alone.
    `skipped` are projections that run before and whose results are then unused. `bypass` says where u is
    added to the MLP's output: at the block's output, at the input of the norm that ends the block, or
    (None) nowhere that could be verified.
    """

    module: nn.Module
    skipped: tuple[nn.Module, ...]
    holds: Literal["output", "output + z"]
    bypass: nn.Module | Literal["block output"] | None = None


@dataclass(frozen=True)
class Wiring:
    """Facts of one layer of one model that hold at every text; found by experiment, once.

    block       the module itself
    attention   the module that calls the pluggable attention, or where the tap found it
    tiling      which captured one-text tensors must be repeated for a replay on several sequences
    tap         how attention is reached where it cannot be plugged in
    projections the linear maps that make q, k, v: skipped once the head outputs are given
    any_length  whether post accepts sequences of another length than the text's (no rotary embedding)
    capacity    most tokens of a sequence that one routed expert takes; None: no such limit
    parallel    attention and MLP run side by side: there is no stream between them
    residual    where u enters, or None where there is no such stream or none was found
    """

    block: nn.Module
    attention: nn.Module
    tiling: Tiling
    tap: SoftmaxTap | None = None
    projections: tuple[nn.Module, ...] = ()
    any_length: bool = False
    capacity: int | None = None
    parallel: bool = False
    residual: Residual | None = None


@dataclass(frozen=True)
class Projections:
    """Inputs of the mixing: query [n, heads, tokens, head_dim]; key, value [n, groups, tokens, head_dim]."""

    query: Tensor
    key: Tensor
    value: Tensor

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.query, self.key, self.value))


@dataclass(frozen=True)
class PairInputs:
    """Inputs of a pairwise mixing: logits [n, heads, targets, sources], value [n, groups, tokens, head_dim]."""

    logits: Tensor
    value: Tensor


@dataclass(frozen=True)
class WholeBlock:
    """One layer at one text, replayed as a whole: all that can be done with a block that does not split."""

    call: BlockCall
    tiling: Tiling
    replay_error: float  # how far a replay is from the model's own output, by `relative_error`

    @staticmethod
    def verified(call: BlockCall, tiling: Tiling) -> WholeBlock:
        """The block of a recorded call; raises UnsupportedModel when a replay does not reproduce it."""
        with torch.no_grad():
            return WholeBlock(call, tiling, _verified(call, call.replay(call.z, tiling)))

    @cached_property
    def kinked(self) -> bool:
        """True if the derivative of z' may jump along a path."""
        return has_kinks(self.call.module)

    @cached_property
    def routed(self) -> bool:
        """True if z' itself may jump along a path."""
        return routes(self.call.module)

    @cached_property
    def z(self) -> Tensor:
        """Block input [tokens, hidden]."""
        return self.call.z[0]

    @cached_property
    def out(self) -> Tensor:
        """Block output z' [tokens, hidden]."""
        return self.call.out[0]

    @property
    def num_tokens(self) -> int:
        """Tokens in the sequence, padding included."""
        return self.z.shape[0]

    def replay(self, hidden: Tensor) -> Tensor:
        """z' of the whole block at hidden states [n, tokens, hidden], attention included."""
        return self.call.replay(hidden, self.tiling)


@dataclass(frozen=True)
class Block(WholeBlock):
    """One layer at one text: the recorded call, its attention call, and the three parts."""

    wiring: Wiring
    attention: AttentionCall
    heads_out: Tensor  # o, [tokens, heads, head_dim]

    @classmethod
    def open(cls, call: BlockCall, wiring: Wiring) -> Self:
        """The block of a recorded call; raises UnsupportedModel when a replay does not reproduce it."""
        attention, error = verified_attention(call, wiring.tiling, wiring.tap)
        return cls(call, wiring.tiling, error, wiring, attention, attend(attention)[0])

    @property
    def projections(self) -> Projections:
        """q, k, v at z."""
        return Projections(self.attention.query, self.attention.key, self.attention.value)

    @property
    def num_heads(self) -> int:
        """Query heads."""
        return self.attention.query.shape[1]

    @property
    def crowded(self) -> bool:
        """True if an expert could overflow: a token's routing then depends on the others, also in post."""
        return self.wiring.capacity is not None and self.num_tokens > self.wiring.capacity

    def project(self, hidden: Tensor) -> Projections:
        """pre: queries, keys and values at hidden states [n, tokens, hidden]."""
        with torch.no_grad():
            call = self._stopped(hidden)
        return Projections(call.query, call.key, call.value)

    def project_with_tangent(self, hidden: Tensor, direction: Tensor) -> tuple[Projections, Projections]:
        """pre and its derivative along `direction` (forward mode), both at `hidden` [n, tokens, hidden]."""
        primals, tangents = self._along(hidden, direction, lambda call: (call.query, call.key, call.value))
        return Projections(*primals), Projections(*tangents)

    def pair_inputs(self, hidden: Tensor) -> PairInputs:
        """pre of a pairwise block: logits and values at hidden states [n, tokens, hidden]."""
        with torch.no_grad():
            return PairInputs(*_pair_inputs(self._stopped(hidden)))

    def pair_inputs_with_tangent(self, hidden: Tensor, direction: Tensor) -> tuple[PairInputs, PairInputs]:
        """pre of a pairwise block and its derivative along `direction`, both at `hidden` [n, tokens, hidden]."""
        primals, tangents = self._along(hidden, direction, _pair_inputs)
        return PairInputs(*primals), PairInputs(*tangents)

    def _along(
        self, hidden: Tensor, direction: Tensor, parts: Callable[[AttentionCall], tuple[Tensor, ...]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Parts of the attention call at `hidden`, and their derivatives along `direction`."""
        with torch.no_grad(), forward_ad.dual_level():
            call = self._stopped(forward_ad.make_dual(hidden, direction))
            duals = [forward_ad.unpack_dual(x) for x in parts(call)]
            tangents = [torch.zeros_like(d.primal) if d.tangent is None else d.tangent for d in duals]
            return [d.primal for d in duals], tangents

    def finish(self, heads: Tensor, z: Tensor) -> Tensor:
        """post: z' [rows, hidden] of head outputs [rows, heads, head_dim] and residual inputs z [rows, hidden].

        A row is any token at any node of the path: post is token by token, so rows are packed into
        sequences as they come. Raises UnsupportedMap where it is not, in a crowded block.
        """
        self._require_room()
        folded = self._fold(z)
        with self._fixed_heads(self._fold(heads), folded), skipping(self.wiring.projections):
            return self.replay(folded).flatten(0, 1)[: len(z)]

    def residual_stream(self, heads: Tensor, z: Tensor) -> Tensor:
        """u [rows, hidden], the stream after attention, of head outputs and residual inputs as in `finish`."""
        entry = self._entry()
        outputs: list[Tensor] = []

        def note(output: Tensor) -> Tensor:
            outputs.append(output)
            return output

        with torch.no_grad(), replacing_output(entry.module, note):
            self.finish(heads, z)
        u = outputs[0].flatten(0, 1)[: len(z)]
        return u + z if entry.holds == "output + z" else u

    def finish_from_residual(self, u: Tensor, *, bypass: bool = True) -> Tensor:
        """z' [rows, hidden] of the stream after attention u [rows, hidden].

        Without `bypass`, u reaches z' through the MLP alone: the residual connection around it is cut.
        """
        self._require_room()
        entry = self._entry()
        rows, nothing = len(u), u.new_zeros(())
        heads = self._fold(nothing.expand(rows, *self.heads_out.shape[1:]))
        hidden = self._fold(nothing.expand_as(u))
        with ExitStack() as stack:
            stack.enter_context(self._fixed_heads(heads, hidden))
            stack.enter_context(skipping(entry.skipped))
            stack.enter_context(replacing_output(entry.module, lambda _: self._fold(u)))
            if not bypass:
                if entry.bypass is None:
                    raise UnsupportedMap(
                        "the residual connection around this block's MLP could not be found; "
                        "use include_residual_connection=true"
                    )
                if isinstance(entry.bypass, nn.Module):
                    stack.enter_context(changing_input(entry.bypass, lambda x: x - self._fold(u).reshape(x.shape)))
            out = self.replay(hidden).flatten(0, 1)[:rows]
        return out if bypass or entry.bypass != "block output" else out - u

    def _entry(self) -> Residual:
        if self.wiring.residual is None:
            why = (
                "attention and MLP run side by side in this block, so there is no stream between them"
                if self.wiring.parallel
                else "the stream between attention and MLP could not be found in this block"
            )
            raise UnsupportedMap(f"{why}; ask for u_node='heads'")
        return self.wiring.residual

    def _require_room(self) -> None:
        if self.crowded:
            raise UnsupportedMap(
                f"an expert of this block takes {self.wiring.capacity} tokens of a sequence and the text has "
                f"{self.num_tokens}: the part after attention is not token by token then; ask for granularity 'layer' "
                "or 'att', or shorten the text"
            )

    def _fold(self, rows: Tensor) -> Tensor:
        """[rows, ...] as sequences [n, length, ...], the last one filled up with zeros."""
        if self.wiring.any_length:
            return rows.unsqueeze(0)
        missing = -len(rows) % self.num_tokens
        if missing:
            rows = torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])
        return rows.unflatten(0, (-1, self.num_tokens))

    def _fixed_heads(self, heads: Tensor, hidden: Tensor) -> AbstractContextManager[None]:
        """A replay at hidden states [n, length, hidden] has the head outputs [n, length, heads, head_dim] inside."""
        tap = self.wiring.tap
        return intercept(lambda _: heads) if tap is None else tap.answer(heads, hidden)

    def _stopped(self, hidden: Tensor) -> AttentionCall:
        try:
            with reaching(self.wiring.tap, _stop, hidden):
                self.replay(hidden)
        except _Stopped as stopped:
            return stopped.call
        raise UnsupportedModel("the block did not reach its attention in a replay")


def reaching(tap: SoftmaxTap | None, handler: Handler, hidden: Tensor) -> AbstractContextManager[None]:
    """Send the attention of a replay at `hidden` to `handler`, plugged in or tapped."""
    return intercept(handler) if tap is None else tap.intercept(handler, hidden)


def verified_attention(call: BlockCall, tiling: Tiling, tap: SoftmaxTap | None = None) -> tuple[AttentionCall, float]:
    """Replay the block as it was called: its attention call, and how far it is from the model's own output."""
    attention, out = recorded_attention(call, tiling, tap)
    return attention, _verified(call, out)


def recorded_attention(call: BlockCall, tiling: Tiling, tap: SoftmaxTap | None) -> tuple[AttentionCall, Tensor]:
    """Replay the block as it was called: its attention call, and its output."""
    calls: list[AttentionCall] = []

    def record(attention: AttentionCall) -> Tensor:
        attention = call.separated(attention)
        calls.append(attention)
        return attend(attention)

    with torch.no_grad(), reaching(tap, record, call.z):
        out = call.replay(call.z, tiling)
    if len(calls) != 1:
        raise UnsupportedModel(
            f"{type(call.module).__name__} calls its attention {len(calls)} times; one call is expected"
        )
    return calls[0], out


def _verified(call: BlockCall, replayed: Tensor) -> float:
    """How far a replay is from the model's own output; raises UnsupportedModel where that is too far."""
    error = relative_error(replayed, call.out)
    if not error <= REPLAY_TOLERANCE[call.z.dtype]:
        raise UnsupportedModel(
            f"a replay of {type(call.module).__name__} differs from the model's own output by {error:.1e} (relative); "
            "attributions of it would be wrong"
        )
    return error


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest absolute difference over the largest absolute expected value; 0 when there is nothing to compare."""
    if expected.numel() == 0:
        return 0.0
    return float((actual - expected).abs().max() / expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny))


class _Stopped(BaseException):
    """Leaves a block before its mixing; a BaseException, for a model may catch Exception."""

    def __init__(self, call: AttentionCall) -> None:
        self.call = call


def _stop(call: AttentionCall) -> NoReturn:
    raise _Stopped(call)


def _pair_inputs(call: AttentionCall) -> tuple[Tensor, Tensor]:
    assert call.bias is not None
    return call.bias, call.value
