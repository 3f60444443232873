"""The cost of a request, from its model's config and its number of tokens: work, memory, bytes, seconds.

For each map and layer, with T tokens, t targets, n nodes a target, width d, H heads of d_h:

    layer     n·t·(2·post + mix)   post: one token through the part after attention; its gradient costs as much again
    att       n·t·mix              mix: one target's attention row and its derivative, H·T·(8 or 4 d_h + elementwise)
    mlp       n·t·2·post
    composed  all three, with u = heads

Beside these stand passes of all T tokens through one layer, 2T·(post + projections) + H·T²·(4 d_h + elementwise): one
of every layer of the model, and for each layer asked for one that checks its block and one or two for each map that
goes through attention. For few targets of a long text they are nearly all there is.

n is what the adaptive quadrature took on real weights (benchmarks/quadrature.md), or `num_steps`. Elementwise work is
bound by memory: it counts as the operations that take the same time. All constants were fitted to runs of the
bundled model with 10, 60 and 200 tokens, those of passes with 128, 256 and 512 tokens and 1 or 4 targets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from lig_core.contract import LOOSEST_RTOL, ExplainRequest, MapName
from service.openapi.examples import EXAMPLES
from service.submit.model_shape import Shape
from service.submit.result_size import binary_bytes, json_bytes
from service.submit.tokens import TokenCount

DEFAULT_RATE = 1e11
"""Operations a second where no worker has measured its own: two cores of a server."""

NODES = {
    ("layer", "zero"): 25.1,
    ("layer", "self_input_token"): 9.3,
    ("att", "zero"): 10.6,
    ("att", "self_input_token"): 7.7,
    ("mlp", "zero"): 13.3,
    ("mlp", "att_itb_a0"): 7.4,
    ("heads", "zero"): 7.0,
    ("heads", "att_itb_a0"): 7.6,
}
"""Mean nodes a target at rtol 1e-3 (benchmarks/quadrature.md); `heads` is mlp from the head outputs."""

FEWEST_NODES = 7.0
RTOL_POWER = 0.17
"""Nodes grow like rtol^-0.17: 15, 25, 40, 84 from 1e-2 to 1e-6 for the layer map at the zero baseline."""

FORWARDS = {"zero": 5.0, "self_input_token": 1.0, "att_itb_a0": 1.0}
"""Passes without gradient that find where a path's mass sits."""

ELEMENTWISE = {"zero": 820.0, "self_input_token": 1230.0}
"""Operations in whose time one entry of an attention row is read and written as often as the rates need it."""

ELEMENTWISE_OF_A_PASS = 800.0
"""The same of one entry of the attention of all tokens, in a pass without gradients."""

CHECKING_PASSES = 1.0
MIXING_PASSES = {"zero": 1.0, "self_input_token": 2.0}
"""Passes of all tokens for a layer that is asked for, and for each of its maps that go through attention."""

ATT_ROWS = {"zero": 3.0, "self_input_token": 2.0}
"""Rows evaluated for one that is needed: a target's heads are refined together though not all need it."""

SECONDS_PER_LAYER, SECONDS_PER_NODE = 0.012, 0.0012
"""Work that does not grow with the text, at the default rate: replays that check a block, and a map's steps, one node
after another."""

CHUNK_BYTES = 192 * 2**20
"""Bytes that the engines allow one chunk's temporaries (lig_core.engines.chunking)."""
FLOAT, DOUBLE = 4, 8
SUMS = 5
"""Float64 accumulators beside a map's values: three rules, the result and its copy."""
NODES_AT_ONCE = 16

REPLACED = {"itb_zero_ratio": ("self_input_token", "zero"), "itb_map_ratio": ("self_input_token",)}
"""Baselines that are computed from others."""


class MapCost(BaseModel):
    """One map of every layer asked for."""

    map: MapName
    baseline: str
    nodes: float = Field(description="Expected nodes a target.")
    flops_per_layer: float = Field(
        description="Floating-point operations; elementwise work counts as what takes the same time."
    )


class Estimate(BaseModel):
    """The cost of a request. Null: the model's config is not known here."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLES["estimate"]})

    tokens: int
    tokens_exact: bool = Field(description="Counted by the model's own tokenizer, else guessed from the text's bytes.")
    layers: int | None
    targets: int
    maps: list[MapCost] = Field(
        description="The integrations to be done; a ratio baseline and `composed` need several."
    )
    flops: float | None
    peak_bytes: int | None = Field(description="Memory of the worker beyond the model's weights, at most about this.")
    result_json_bytes: int | None
    result_binary_bytes: int | None
    seconds: float | None = Field(description="Computing, at `rate`, the model being loaded.")
    rate: float = Field(description="Operations a second that the workers were measured at.")
    queue_seconds: float | None = Field(description="Until it would start; null: not known.")


@dataclass(frozen=True)
class _Integration:
    """One integral to be done in every layer: of what, from where, for how many columns a target."""

    map: MapName
    kind: str  # layer, att, mlp (from the residual) or heads (mlp from the head outputs)
    baseline: str
    heads: int = 1


def estimate(
    request: ExplainRequest,
    shape: Shape | None,
    tokens: TokenCount,
    *,
    rate: float = DEFAULT_RATE,
    queue_seconds: float | None = None,
) -> Estimate:
    """The cost of a request at `rate` operations a second; `shape` None: of a model that is not known here."""
    targets = tokens.targets(request)
    if shape is None:
        return Estimate(
            tokens=tokens.number,
            tokens_exact=tokens.exact,
            layers=None,
            targets=targets,
            maps=[],
            flops=None,
            peak_bytes=None,
            result_json_bytes=None,
            result_binary_bytes=None,
            seconds=None,
            rate=rate,
            queue_seconds=queue_seconds,
        )
    layers = shape.layers if request.layers is None else len(request.layers)
    integrations = list(_integrations(request, shape))
    maps = [
        MapCost(
            map=each.map,
            baseline=each.baseline,
            nodes=_nodes(each, request),
            flops_per_layer=_flops(each, request, shape, tokens.number, targets),
        )
        for each in integrations
    ]
    mixing = sum(MIXING_PASSES[each.baseline] for each in integrations if each.kind in ("layer", "att"))
    passes = shape.layers + layers * (CHECKING_PASSES + mixing)
    flops = layers * sum(cost.flops_per_layer for cost in maps) + passes * _pass(request, shape, tokens.number)
    fixed = layers * (SECONDS_PER_LAYER + SECONDS_PER_NODE * sum(cost.nodes for cost in maps))
    return Estimate(
        tokens=tokens.number,
        tokens_exact=tokens.exact,
        layers=layers,
        targets=targets,
        maps=maps,
        flops=flops,
        peak_bytes=_peak_bytes(integrations, request, shape, tokens.number, targets, layers),
        result_json_bytes=json_bytes(request, shape, tokens.number, targets, layers),
        result_binary_bytes=binary_bytes(request, shape, tokens.number, targets, layers),
        seconds=(fixed + flops / DEFAULT_RATE) * DEFAULT_RATE / rate,
        rate=rate,
        queue_seconds=queue_seconds,
    )


TYPICAL = Shape(
    layers=12, hidden=768, heads=12, head_dim=64, whole_block=False, widths=6_912, post=5_308_416, projections=1_769_472
)
"""BERT's base size."""


def seconds_of(request: ExplainRequest, tokens: TokenCount, cost: Estimate) -> float:
    """The estimated seconds of a request; a model that is not known here counts as BERT's base size."""
    return cost.seconds or estimate(request, TYPICAL, tokens, rate=cost.rate).seconds or 0.0


def _integrations(request: ExplainRequest, shape: Shape) -> Iterator[_Integration]:
    """The integrals that `lig_core.method.explain_layer` computes."""
    maps = {*request.maps}
    composed = "composed" in maps
    if maps & {"layer", "composed"}:
        for baseline in REPLACED.get(request.baseline_layer, (request.baseline_layer,)):
            yield _Integration("layer", "layer", baseline)
    if maps & {"att", "composed"}:
        heads = shape.heads if request.target_head is None or composed else 1
        for baseline in REPLACED.get(request.baseline_att, (request.baseline_att,)):
            yield _Integration("att", "att", baseline, heads)
    if composed or ("mlp" in maps and request.u_node == "heads"):
        yield _Integration("mlp", "heads", request.baseline_mlp)
    if "mlp" in maps and request.u_node == "residual":
        yield _Integration("mlp", "mlp", request.baseline_mlp)


def _nodes(each: _Integration, request: ExplainRequest) -> float:
    if request.num_steps is not None:
        return float(request.num_steps)
    return max(FEWEST_NODES, NODES[each.kind, each.baseline] * (1e-3 / min(request.rtol, LOOSEST_RTOL)) ** RTOL_POWER)


def _pass(request: ExplainRequest, shape: Shape, tokens: int) -> float:
    """Operations of all tokens going through one layer, without gradients."""
    attention = 0.0 if shape.whole_block else shape.heads * tokens * (4 * shape.head_dim + ELEMENTWISE_OF_A_PASS)
    return _precision(request) * tokens * (2 * (shape.post + shape.projections) + attention)


def _precision(request: ExplainRequest) -> float:
    return 2.0 if request.dtype == "float64" else 1.0


def _flops(each: _Integration, request: ExplainRequest, shape: Shape, tokens: int, targets: int) -> float:
    nodes, probes = _nodes(each, request), FORWARDS[each.baseline]
    precision = _precision(request)
    post = 2.0 * targets * shape.post
    if shape.whole_block:  # a forward and a backward pass of the whole block for every target
        return precision * nodes * targets * 4 * tokens * (shape.post + shape.projections)
    if each.kind in ("mlp", "heads"):
        return precision * post * (2 * nodes + probes)
    zero = each.baseline == "zero"
    entry = (8 if zero else 4) * shape.head_dim + ELEMENTWISE[each.baseline]
    mix = targets * _heads(each, shape) * tokens * entry
    if each.kind == "att":
        return precision * mix * (nodes * ATT_ROWS[each.baseline] + probes / 2)
    return precision * (post * (2 * nodes + probes) + mix * (nodes + probes / 2))


def _heads(each: _Integration, shape: Shape) -> int:
    return each.heads if each.kind == "att" else shape.heads


def _peak_bytes(
    integrations: list[_Integration], request: ExplainRequest, shape: Shape, tokens: int, targets: int, layers: int
) -> int:
    """The largest integration's chunk and sums, with the activations of the forward pass and the result beside."""
    number = DOUBLE if request.dtype == "float64" else FLOAT
    largest = 0
    for each in integrations:
        heads = _heads(each, shape)
        pair = number * (6 * heads * tokens + (0 if each.kind == "att" else 3 * shape.widths + 8 * shape.hidden))
        columns = targets * (each.heads if each.kind == "att" else 1)
        sources = tokens if each.kind in ("layer", "att") else shape.hidden
        sums = SUMS * DOUBLE * columns * sources
        largest = max(largest, min(CHUNK_BYTES, NODES_AT_ONCE * targets * pair) + sums)
    activations = number * shape.layers * tokens * (4 * shape.hidden + shape.heads * tokens)
    return math.ceil(largest + activations + binary_bytes(request, shape, tokens, targets, layers))
