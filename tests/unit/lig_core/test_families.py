"""Every family, as the product loads it, against plain automatic differentiation of the model's own eager layers.

Float64; differences are relative to the largest value of the map. Texts stand alone and padded inside a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from tiny_families import CROWDED, PLUGGABLE
from tiny_models import ALL_FAMILIES, IDS, TinyTruth, gauss, loaded, relative
from torch import Tensor

from lig_core.blocks.introspect import expert_capacity
from lig_core.errors import UnsupportedMap
from lig_core.maps import Integrator, SplitBlockIntegrator
from lig_core.precision import working_precision
from lig_core.quadrature import GaussLegendre

NODES, TIGHT = 2, 1e-9
NAMES = [family.name for family in (*ALL_FAMILIES, *PLUGGABLE)]
TARGETS = torch.tensor([1, 4, 5])
HEADS = range(4)
MASK = (1,) * len(IDS) + (0,) * 3
BESIDE = (9, 8, 7, 6, 5, 4, 30, 31, 32)
"""Another, longer text of the batch."""


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    with working_precision(torch.float64):  # models are built in it too: rotary frequencies are made in float32 else
        yield


@pytest.mark.parametrize("name", NAMES)
def test_a_family_is_explained_exactly(name: str) -> None:
    model = loaded(name)
    (alone,) = model.capture({"input_ids": torch.tensor([IDS])})
    for layer in (0, 2):
        maps = model.integrator(layer, alone[layer], TARGETS, GaussLegendre(NODES))
        check(maps, TinyTruth(name, layer), ("zero", "self_input_token"), ("zero", "att_itb_a0"))
    ids = torch.tensor([(*IDS, 0, 0, 0), BESIDE])
    padded, _ = model.capture({"input_ids": ids, "attention_mask": torch.tensor([MASK, (1,) * len(BESIDE)])})
    expected = TinyTruth(name, 1, {"input_ids": ids[:1], "attention_mask": torch.tensor([MASK])})
    check(model.integrator(1, padded[1], TARGETS, GaussLegendre(NODES)), expected, ("zero", "self_input_token"), ())


def check(maps: Integrator, expected: TinyTruth, baselines: tuple[Any, ...], mlp_baselines: tuple[Any, ...]) -> None:
    assert isinstance(maps, SplitBlockIntegrator)
    block, expected.targets = maps.block, TARGETS.tolist()
    probe = torch.stack([block.z, 0.1 * block.z.flip(0)])
    assert relative(block.replay(probe), torch.stack([expected.run(z) for z in probe])) <= TIGHT
    quadrature = gauss(NODES)
    for baseline in baselines:
        found = maps.layer(baseline).attribution.values
        close(found, expected.layer_map(baseline, *quadrature))
        heads = maps.att(baseline, HEADS).values
        close(heads, expected.att_map(baseline, *quadrature))
        if expected.family.causal:
            future = torch.arange(block.num_tokens) > TARGETS[:, None]
            assert not found[future].any()
            assert not heads.transpose(0, 1)[:, future].any()
    for baseline in mlp_baselines:
        found = maps.mlp_from_heads(baseline).attribution.values
        close(found, expected.mlp_map_heads(baseline, *quadrature))
        if not expected.family.parallel:
            found = maps.mlp_from_residual(baseline).attribution.values
            close(found, expected.mlp_map_residual(baseline, *quadrature))


def close(found: Tensor, expected: Tensor) -> None:
    assert relative(found, expected) <= TIGHT


@pytest.mark.parametrize("baseline", ["zero", "self_input_token"])
def test_a_text_that_may_crowd_an_expert_is_explained_as_a_whole(baseline: Any) -> None:
    model, ids = loaded(CROWDED.name), torch.tensor([[5, 6, 7, 5] * 6])  # all of them may want one expert
    (calls,) = model.capture({"input_ids": ids})
    sparse = next(layer for layer, call in enumerate(calls) if expert_capacity(call.module) is not None)
    maps = model.integrator(sparse, calls[sparse], TARGETS, GaussLegendre(NODES))
    expected = TinyTruth(CROWDED.name, sparse, {"input_ids": ids})
    expected.targets = TARGETS.tolist()
    assert maps.layer(baseline).engine == "dense"
    close(maps.layer(baseline).attribution.values, expected.layer_map(baseline, *gauss(NODES)))
    close(maps.att(baseline, HEADS).values, expected.att_map(baseline, *gauss(NODES)))
    for mlp in (maps.mlp_from_heads, maps.mlp_from_residual):
        with pytest.raises(UnsupportedMap, match="takes 20 tokens"):
            mlp("zero")


def test_beyond_its_capacity_an_expert_drops_tokens() -> None:
    """Or else the test above shows nothing."""
    model, ids = loaded(CROWDED.name), torch.tensor([[5, 6, 7, 5] * 6])
    (calls,) = model.capture({"input_ids": ids})
    block = model.integrator(1, calls[1], TARGETS, GaussLegendre(NODES))
    assert isinstance(block, SplitBlockIntegrator)
    one = block.block.z[:1].expand(24, -1)[None]
    out = block.block.replay(one)[0]
    assert relative(out[1], out[0]) <= TIGHT  # the same token at every place
    assert relative(out[-1], out[0]) > 0.01  # but the last found no room
