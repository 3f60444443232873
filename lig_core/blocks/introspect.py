"""Finding a layer's wiring by experiment, without knowing its family.

Each finding is a numerical test on the model's own block: a fact is accepted when the replay that relies
on it reproduces the model's output, and refused otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lig_core.blocks.attention import AttentionCall, attend, intercept, masked
from lig_core.blocks.block import (
    REPLAY_TOLERANCE,
    Block,
    Residual,
    Wiring,
    relative_error,
    verified_attention,
)
from lig_core.blocks.capture import BlockCall, Tiling, first_tensor
from lig_core.blocks.patching import linear_width
from lig_core.blocks.softmax_tap import find_tap
from lig_core.errors import LigError, UnsupportedModel

UNFIT = (RuntimeError, ValueError)
"""Errors of a replay whose shapes do not fit: torch's own, or of a model that checks them itself (XGLM)."""
TILINGS: tuple[Tiling, ...] = ("none", "floats", "all", "heads")


@torch.no_grad()
def find_wiring(call: BlockCall, tiling: Tiling) -> Wiring:
    """The wiring of the layer that made this call. Raises UnsupportedModel when it does not split into parts."""
    tap = None
    if not _plugged_in(call, tiling):
        tap = find_tap(lambda hidden: call.replay(hidden, tiling), call.module, call.z)
    attention, _ = verified_attention(call, tiling, tap)
    wiring = Wiring(call.module, attention.module, tiling, tap, capacity=expert_capacity(call.module))
    block = Block.open(call, wiring)
    if block.crowded:
        raise UnsupportedModel(f"an expert of the block takes {wiring.capacity} tokens, too few to inspect it")
    block = _rewired(block, projections=_projections(block))
    if block.wiring.capacity is None:  # many rows in one sequence would crowd the experts
        block = _rewired(block, any_length=_any_length(block))
    _require_token_by_token(block)
    residual = _residual(block)
    return replace(block.wiring, residual=residual, parallel=residual is None and _parallel(block))


def _plugged_in(call: BlockCall, tiling: Tiling) -> bool:
    """True if the block calls the pluggable attention."""
    calls: list[AttentionCall] = []

    def note(attention: AttentionCall) -> Tensor:
        calls.append(attention)
        return attend(attention)

    with intercept(note):
        call.replay(call.z, tiling)
    return bool(calls)


def _rewired(block: Block, **facts: Any) -> Block:
    return replace(block, wiring=replace(block.wiring, **facts))


@torch.no_grad()
def find_tiling(call: BlockCall) -> Tiling:
    """The way of replaying this call on several sequences. Raises UnsupportedModel when none reproduces its output."""
    # Enough sequences before it to crowd the experts, should their capacity be shared by a whole batch.
    before = 1 + (expert_capacity(call.module) or 0) // call.z.shape[1]
    several = torch.cat([*(0.5 * call.z for _ in range(before)), call.z])
    for tiling in TILINGS:
        try:
            replayed = call.replay(several, tiling)[-1:]
        except UNFIT:  # shapes that do not broadcast
            continue
        if _reproduces(replayed, call.out):
            return tiling
    raise UnsupportedModel(f"{type(call.module).__name__} cannot be replayed on a batch of sequences")


def expert_capacity(module: nn.Module) -> int | None:
    """Most tokens of a sequence that one routed expert inside takes, the rest being dropped; None: no limit."""
    capacities = (getattr(part, "expert_capacity", None) for part in module.modules())
    return min((limit for limit in capacities if isinstance(limit, int)), default=None)


def _projections(block: Block) -> tuple[nn.Module, ...]:
    """The linear maps inside the attention module that run before its attention call."""
    projections: dict[nn.Module, None] = {}
    linears = [m for m in block.attention.module.modules() if linear_width(m) is not None]
    handles = [m.register_forward_hook(_noting(projections)) for m in linears]
    try:
        block.project(block.z[None])
    finally:
        for handle in handles:
            handle.remove()
    skippable = _rewired(block, projections=tuple(projections))
    try:
        exact = _reproduces(skippable.finish(block.heads_out, block.z), block.out)
    except LigError:
        raise
    except RuntimeError:  # a block that works on its projections in place
        exact = False
    return tuple(projections) if exact else ()


def _noting(ran: dict[nn.Module, None]) -> Callable[[nn.Module, Any, Any], None]:
    """A hook that notes linear maps as they run; not one that gives more than a tensor, as some routers do."""

    def note(module: nn.Module, _args: Any, out: Any) -> None:
        if isinstance(out, Tensor):
            ran[module] = None

    return note


def _any_length(block: Block) -> bool:
    free = _rewired(block, any_length=True)
    longer = torch.cat([torch.arange(block.num_tokens), torch.arange(1)]).to(block.z.device)
    try:
        return all(
            _reproduces(free.finish(free.heads_out[rows], free.z[rows]), block.out[rows])
            for rows in (longer, longer[-1:])
        )
    except UNFIT:  # a rotary embedding, or a position bias, of the text's own length
        return False


def _require_token_by_token(block: Block) -> None:
    """pre and post must move only the token that is moved; post must not see positions."""
    generator = torch.Generator().manual_seed(0)
    moved = block.num_tokens // 2
    others = torch.arange(block.num_tokens, device=block.z.device) != moved
    shift = torch.randn(block.z.shape[-1], generator=generator).to(block.z)
    nudged = block.z.clone()
    nudged[moved] += shift
    before, after = block.project(block.z[None]), block.project(nudged[None])
    if block.attention.pairwise:
        logits = (block.pair_inputs(z[None]).logits for z in (nudged, block.z))
        actual, expected = (torch.where(masked(x), 0, x)[:, :, others][..., others] for x in logits)
        if not _reproduces(actual, expected):
            raise UnsupportedModel("the logits of two tokens depend on a third one")
    for x, y in zip(before, after, strict=True):
        if not _reproduces(y[:, :, others], x[:, :, others]):
            raise UnsupportedModel("queries, keys or values of one token depend on another token")
    shuffled = torch.randperm(block.num_tokens, generator=generator).to(block.z.device)
    if not _reproduces(block.finish(block.heads_out[shuffled], block.z[shuffled]), block.out[shuffled]):
        raise UnsupportedModel("the part of the block after attention is not token by token")
    rows = block.finish(block.heads_out, nudged)
    if not _reproduces(rows[others], block.out[others]):
        raise UnsupportedModel("the part of the block after attention lets one token move another")


def _parallel(block: Block) -> bool:
    """True if no MLP sees the head outputs: the part after attention is affine in them."""
    heads, z = block.heads_out, block.z
    other = heads.flip(0)
    total = block.finish(heads + other, z) + block.finish(torch.zeros_like(heads), z)
    return _reproduces(block.finish(heads, z) + block.finish(other, z), total)


def _residual(block: Block) -> Residual | None:
    """The module at whose output the stream after attention enters; None where there is none.

    Either the module's output is u (post-norm: a norm ends the attention half), or u = output + z (pre-norm).
    Accepted when putting u there, with a zero hidden state, reproduces the block's output.
    """
    pre_norm = None
    trace = _trace(block)
    for part in trace:
        if part.output.shape != block.out.shape or _reproduces(part.output, block.out):
            continue
        streams: tuple[tuple[Literal["output", "output + z"], Tensor], ...]
        streams = (("output", part.output), ("output + z", part.output + block.z))
        for holds, u in streams:
            if _reproduces(u, block.out):
                continue  # the end of the block, not its middle
            entry = Residual(part.module, part.linears_before, holds, _bypass(block, trace, u))
            entry = entry if _runs(block, entry, u) else replace(entry, skipped=())
            if _reproduces(_rewired(block, residual=entry).finish_from_residual(u), block.out):
                if holds == "output":
                    return entry
                pre_norm = pre_norm or entry
    return pre_norm


def _runs(block: Block, entry: Residual, u: Tensor) -> bool:
    """True if the block can do without the linear maps before u: not one that works on their results in place."""
    try:
        _rewired(block, residual=entry).finish_from_residual(u)
    except LigError:
        raise
    except RuntimeError:
        return False
    return True


def _bypass(block: Block, trace: list[_Part], u: Tensor) -> nn.Module | Literal["block output"] | None:
    """The place where u is added to a part's output: the sum is the block's output, or enters the norm that ends it."""

    def is_a_part(x: Tensor) -> bool:
        return any(part.output.shape == x.shape and _reproduces(part.output, x) for part in trace)

    if is_a_part(block.out - u):
        return "block output"
    for part in trace:
        ends_block = part.output.shape == block.out.shape and _reproduces(part.output, block.out)
        if ends_block and part.input is not None and part.input.shape == u.shape and is_a_part(part.input - u):
            return part.module
    return None


@dataclass(frozen=True)
class _Part:
    """A module inside the block in one replay: its first input, its output, the linear maps that ran before."""

    module: nn.Module
    input: Tensor | None
    output: Tensor
    linears_before: tuple[nn.Module, ...]


def _trace(block: Block) -> list[_Part]:
    """The block's parts, two levels deep (a list of modules is no level), in the order in which they finish."""
    parts: list[nn.Module] = []
    for child in block.call.module.children():
        for part in child if isinstance(child, nn.ModuleList) else (child,):
            parts += [part, *part.children()]
    trace: list[_Part] = []
    ran: dict[nn.Module, None] = {}

    def note_part(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        value = first_tensor(output) if isinstance(output, Tensor | tuple | list) else None
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if isinstance(value, Tensor) and value.dim() in (2, 3):
            # Copies, for a block may add to a part's output in place.
            part_input = None if first is None else _one_text(first).clone()
            trace.append(_Part(module, part_input, _one_text(value).clone(), tuple(ran)))

    handles = [
        m.register_forward_hook(_noting(ran)) for m in block.call.module.modules() if linear_width(m) is not None
    ]
    handles += [part.register_forward_hook(note_part) for part in dict.fromkeys(parts)]
    try:
        block.replay(block.z[None])
    finally:
        for handle in handles:
            handle.remove()
    return trace


def _one_text(x: Tensor) -> Tensor:
    """[1, tokens, hidden] as [tokens, hidden], which is what some blocks (OPT) work on inside."""
    return x[0] if x.dim() == 3 else x


def _reproduces(actual: Tensor, expected: Tensor) -> bool:
    return relative_error(actual, expected) <= REPLAY_TOLERANCE[expected.dtype]
