"""The inspection of a model's layers: done once, when it is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lig_core.blocks.attention import IMPLEMENTATION, AttentionCall, attend, intercept
from lig_core.blocks.block import Block, Wiring, relative_error
from lig_core.blocks.capture import BlockCall, Tiling, capture_blocks, first_tensor
from lig_core.blocks.introspect import find_tiling, find_wiring
from lig_core.blocks.laws import PathLaws, find_laws
from lig_core.blocks.layout import Layout, find_layout
from lig_core.contract import ALL_MAPS, MapName
from lig_core.engines.chunking import out_of_memory
from lig_core.errors import LigError, UnsupportedModel
from lig_core.maps.integrators import SplitBlockIntegrator, WholeBlockIntegrator
from lig_core.quadrature import Adaptive

SPOT_CHECK_AT = 0.61
ELSEWHERE = (
    "that is a fault of the model's own code: try the other dtype, another version of transformers or another model"
)
SPOT_CHECK_TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}


@dataclass(frozen=True)
class LayerFacts:
    """Facts of a layer, found out once, on a probe sentence; they hold for every text.

    wiring is None for a block that does not split into parts, and `note` says why; laws is None where queries,
    keys and values follow no simple law, so that the general paths are used. `layout` is None without wiring.
    A block is disputed that splits, but gives other rates by parts than as a whole: as saturated attention does.
    """

    tiling: Tiling
    wiring: Wiring | None
    laws: PathLaws | None
    note: str
    layout: Layout | None = None
    disputed: bool = False

    def maps(self, u_node: str) -> tuple[MapName, ...]:
        """The maps that the layer has, where `mlp` starts from this node."""
        if self.wiring is None:
            return ("layer",)
        lacking = "mlp" if u_node == "residual" and self.wiring.residual is None else None
        return tuple(name for name in ALL_MAPS if name != lacking)


@contextmanager
def inspecting(model: nn.Module) -> Iterator[None]:
    """Whatever a model raises on an ordinary sentence, or when its blocks are replayed: UnsupportedModel."""
    try:
        yield
    except LigError:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        # What a model of pictures or sound says of tokens; else its own code fails at what it does with them.
        of_inputs = isinstance(error, TypeError | ValueError | AttributeError)
        raise UnsupportedModel(
            f"{type(model).__name__} could not be run on a sentence and inspected ({first_line(error)}); "
            + ("it has to be a text model that takes tokens and nothing else" if of_inputs else ELSEWHERE)
        ) from error


def inspect_layers(model: Any, inputs: Mapping[str, Tensor]) -> tuple[LayerFacts, ...]:
    """The facts of every layer of a model, from its first forward pass."""
    return tuple(inspect_layer(call) for call in _first_calls(model, inputs))


def _first_calls(model: Any, inputs: Mapping[str, Tensor]) -> list[BlockCall]:
    """The calls of a model's blocks at one text.

    The model goes back to eager attention where no other can be plugged in, and where some attention module gives
    something else with the plugged one: what its eager function does, it does not ask others for. (GPT-2 before
    transformers 5.4 scales by `scale_attn_by_inverse_layer_idx` and `scale_attn_weights` in eager attention alone.)
    """
    try:
        calls = capture_blocks(model, inputs)[0]
    except KeyError as error:  # a closed list of attentions that is looked into at every call
        if error.args != (IMPLEMENTATION,):
            raise
    else:
        if _plugs_in_as_eager(model, calls):
            return calls
    model.config._attn_implementation = "eager"  # some classes refuse set_attn_implementation
    return capture_blocks(model, inputs)[0]


@torch.no_grad()
def _plugs_in_as_eager(model: Any, calls: Sequence[BlockCall]) -> bool:
    """True if every attention module gives with the plugged attention what it gives with transformers' eager one.

    And where the eager one cannot be run, which leaves nothing to compare with (GPT-2's `reorder_and_upcast_attn`, an
    order of multiplying, raises in float64).
    """
    before = model.config._attn_implementation
    try:
        plugged = [_attention_outputs(call) for call in calls]
        model.config._attn_implementation = "eager"
        eager = [_attention_outputs(call, modules) for call, modules in zip(calls, plugged, strict=True)]
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        return True
    finally:
        model.config._attn_implementation = before
    return all(
        relative_error(one, other[module]) <= SPOT_CHECK_TOLERANCE[one.dtype]
        for ones, other in zip(plugged, eager, strict=True)
        for module, one in ones.items()
    )


def _attention_outputs(call: BlockCall, modules: Iterable[nn.Module] | None = None) -> dict[nn.Module, Tensor]:
    """The outputs of a block's attention modules when it is called again; None: of those that call the plugged one."""
    attending, outputs = dict.fromkeys(modules or ()), dict[nn.Module, Tensor]()

    def note(attention: AttentionCall) -> Tensor:
        attending[attention.module] = None
        return attend(attention)

    if modules is None:
        with intercept(note):
            call.replay(call.z, "none")

    def keep(module: nn.Module, _args: Any, output: Any) -> None:
        outputs[module] = first_tensor(output)

    handles = [module.register_forward_hook(keep) for module in attending]
    try:
        call.replay(call.z, "none")
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def inspect_layer(call: BlockCall) -> LayerFacts:
    """Find out how a layer is wired and check its rates against the dense engine's.

    A block that does not split, or whose rates do not agree, is left whole. Raises UnsupportedModel for one
    that cannot even be replayed.
    """
    tiling = find_tiling(call)
    try:
        wiring = find_wiring(call, tiling)
    except UnsupportedModel as error:
        return LayerFacts(tiling, None, None, error.detail)
    block = Block.open(call, wiring)
    laws = find_laws(block)
    if not rates_agree(block, laws):
        note = "its rates by parts differ from plain automatic differentiation"
        return LayerFacts(tiling, None, None, note, disputed=True)
    return LayerFacts(tiling, wiring, laws, _note(block, laws), find_layout(block))


def _note(block: Block, laws: PathLaws | None) -> str:
    """The computation of a block's rates, in words."""
    reached = "" if block.wiring.tap is None else "attention found at its softmax; "
    if laws is None:
        return f"{reached}queries, keys and values follow no norm-and-linear law: replayed paths"
    if block.attention.pairwise:
        return f"{reached}logits of pairs of tokens (norm: {laws.norm.kind})"
    key_norm = "" if laws.key_norm is None else ", key norm"
    return f"{reached}closed-form paths (norm: {laws.norm.kind}, positions: {laws.positions.kind}{key_norm})"


def rates_agree(block: Block, laws: PathLaws | None) -> bool:
    """True if the factored and the dense engine give the same rates at one node, for two targets and both baselines."""
    targets = torch.tensor(sorted({block.num_tokens // 2, block.num_tokens - 1}), device=block.z.device)
    node, one = torch.tensor([SPOT_CHECK_AT], dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    columns = torch.arange(len(targets))
    factored = SplitBlockIntegrator(block, laws, targets, Adaptive())
    dense = WholeBlockIntegrator(block, "", targets, Adaptive())
    for zero in (True, False):
        integrands = (integrator.layer_integrand(zero=zero) for integrator in (factored, dense))
        fast, plain = (integrand.accumulate(node, columns, one) for integrand in integrands)
        # Where a path is flat its rates are rounding: an error counts by what it is to L, too.
        scale = torch.maximum(plain.weighted.abs().max(), plain.lengths.max())
        if (fast.weighted - plain.weighted).abs().max() > SPOT_CHECK_TOLERANCE[block.z.dtype] * scale:
            return False
    return True


def first_line(error: Exception) -> str:
    """The message of an error in code that is not ours, in one line; a heading goes with what stands under it."""
    lines = str(error).strip().split("\n")
    message = " ".join(line.strip() for line in lines[: 2 if lines[0].endswith(":") else 1])
    return (message.rstrip(".") or type(error).__name__)[:300]
