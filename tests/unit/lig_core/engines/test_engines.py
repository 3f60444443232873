"""The factored engine against plain automatic differentiation, at the same nodes.

Differences are relative to the largest value of the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from lig_core.blocks.block import Block, WholeBlock
from lig_core.blocks.capture import capture_blocks
from lig_core.blocks.laws import Positions
from lig_core.blocks.precision import working_precision
from lig_core.engines.chunking import Budget
from lig_core.engines.factored import AttentionIntegrand, LayerIntegrand
from lig_core.engines.path import Path
from lig_core.engines.target_paths import ClosedTargetPath, ReplayedTargetPath, target_path
from lig_core.engines.zero_paths import ScaledPath, TangentPath
from lig_core.maps.integrators import Integrator, SplitBlockIntegrator, WholeBlockIntegrator
from lig_core.quadrature import GaussLegendre
from tests.models import tiny_families  # noqa: F401 - adds gemma3 to FAMILIES
from tests.models.brute_force import gauss, truth
from tests.models.tiny_models import ALL_FAMILIES, CAUSAL, FAMILIES, IDS, LAYERS, Opened, opened, pluggable
from tests.support.closeness import assert_close

NAMES = [family.name for family in ALL_FAMILIES]
SEQUENTIAL = [family.name for family in ALL_FAMILIES if not family.parallel]
EVERY_LAYER, EVERY_HEAD = range(LAYERS), range(4)
NODES = 3
TIGHT, ROUNDING = 1e-9, 1e-12
ALL_TARGETS = torch.arange(len(IDS))
PATH_BASELINES = ("zero", "self_input_token")
MLP_BASELINES = ("zero", "att_itb_a0")


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    with working_precision(torch.float64):
        yield


def integrator(found: Opened, targets: Tensor = ALL_TARGETS, budget: Budget | None = None) -> Integrator:
    return SplitBlockIntegrator(found.block, found.laws, targets, GaussLegendre(NODES), budget or Budget())


@pytest.mark.parametrize("baseline", PATH_BASELINES)
@pytest.mark.parametrize("name", NAMES)
def test_the_layer_map_is_the_brute_force_one(name: str, baseline: Any) -> None:
    for layer in EVERY_LAYER:
        found = integrator(opened(name)[layer]).layer(baseline).attribution.values
        assert_close(found, truth(name, layer).layer_map(baseline, *gauss(NODES)), TIGHT)


@pytest.mark.parametrize("size", [1, 10**9])
@pytest.mark.parametrize("baseline", PATH_BASELINES)
@pytest.mark.parametrize("name", ["bert", "llama", "gemma2", "gpt_neox", "t5_encoder"])
def test_the_dense_engines_layer_map_is_the_brute_force_one(name: str, baseline: Any, size: int) -> None:
    for layer in EVERY_LAYER:
        block = opened(name)[layer].block
        whole = WholeBlock.verified(block.call, block.tiling)
        some = torch.tensor([0, 2, 5])
        maps = WholeBlockIntegrator(whole, "", some, GaussLegendre(NODES), Budget(size))
        expected = truth(name, layer).layer_map(baseline, *gauss(NODES))
        assert_close(maps.layer(baseline).attribution.values, expected[some], TIGHT)


@pytest.mark.parametrize("baseline", PATH_BASELINES)
@pytest.mark.parametrize("name", NAMES)
def test_the_map_of_every_head_is_the_brute_force_one(name: str, baseline: Any) -> None:
    for layer in EVERY_LAYER:
        found = integrator(opened(name)[layer]).att(baseline, EVERY_HEAD).values
        assert_close(found, truth(name, layer).att_map(baseline, *gauss(NODES)), TIGHT)


@pytest.mark.parametrize("baseline", MLP_BASELINES)
@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_mlp_map_from_the_stream_is_the_brute_force_one(name: str, baseline: Any) -> None:
    for layer in EVERY_LAYER:
        found = integrator(opened(name)[layer]).mlp_from_residual(baseline).attribution.values
        assert_close(found, truth(name, layer).mlp_map_residual(baseline, *gauss(NODES)), TIGHT)


@pytest.mark.parametrize("baseline", MLP_BASELINES)
@pytest.mark.parametrize("name", NAMES)
def test_the_mlp_map_from_the_heads_is_the_brute_force_one(name: str, baseline: Any) -> None:
    for layer in EVERY_LAYER:
        mlp = integrator(opened(name)[layer]).mlp_from_heads(baseline)
        expected = truth(name, layer).mlp_map_heads(baseline, *gauss(NODES))
        assert_close(mlp.attribution.values, expected, TIGHT)
        assert mlp.per_head is not None
        assert_close(mlp.per_head, expected.unflatten(1, (4, 8)).sum(-1), TIGHT)


@pytest.mark.parametrize("baseline", MLP_BASELINES)
@pytest.mark.parametrize("name", ["bert", "gpt2", "distilbert", "gemma2", "llama", "mixtral"])
def test_without_the_residual_connection_u_counts_through_the_mlp_alone(name: str, baseline: Any) -> None:
    for layer in EVERY_LAYER:
        found = integrator(opened(name)[layer]).mlp_from_residual(baseline, bypass=False).attribution.values
        expected = truth(name, layer).mlp_map_residual(baseline, *gauss(NODES), bypass=False)
        assert_close(found, expected, TIGHT)


def rates(integrand: LayerIntegrand | AttentionIntegrand) -> tuple[Tensor, Tensor]:
    """L and the rates of every column at nodes near 0, inside and near 1."""
    nodes = torch.tensor([1e-3, 0.2, 0.63, 0.999], dtype=torch.float64)
    found = [
        integrand.accumulate(nodes, torch.arange(integrand.num_columns), row[None])
        for row in torch.eye(len(nodes), dtype=torch.float64)
    ]
    return found[0].lengths, torch.stack([sums.weighted[0] for sums in found])


def agree(block: Block, one: Path, other: Path) -> None:
    for kind in (LayerIntegrand, AttentionIntegrand):
        found, expected = (rates(kind(block, path, ALL_TARGETS, Budget())) for path in (one, other))
        assert_close(found[0], expected[0], ROUNDING)
        for at_a_node, at_the_same_node in zip(found[1], expected[1], strict=True):
            assert_close(at_a_node, at_the_same_node, TIGHT)


@pytest.mark.parametrize("name", [name for name in NAMES if FAMILIES[name].key_norm is None])
def test_the_scaled_path_is_the_tangent_path(name: str) -> None:
    for found in opened(name):
        assert found.laws is not None
        heads = torch.arange(4)
        scaled = ScaledPath(found.block, found.laws.norm, heads)
        assert scaled.matches_replay()
        agree(found.block, scaled, TangentPath(found.block, heads))


@pytest.mark.parametrize("name", NAMES)
def test_the_closed_target_path_is_the_replayed_one(name: str) -> None:
    for found in opened(name):
        assert found.laws is not None
        heads = torch.arange(4)
        closed = ClosedTargetPath(found.block, found.laws, heads)
        assert closed.matches_replay()
        agree(found.block, closed, ReplayedTargetPath(found.block, heads))


@pytest.mark.parametrize("name", ["llama", "qwen3", "cohere"])
def test_positions_that_are_not_understood_are_replayed_exactly(name: str) -> None:
    for found in opened(name):
        assert found.laws is not None
        laws = type(found.laws)(found.laws.norm, found.laws.shared, found.laws.key_norm, Positions("opaque"))
        heads = torch.arange(4)
        opaque = ClosedTargetPath(found.block, laws, heads)
        assert opaque.matches_replay()
        agree(found.block, opaque, ReplayedTargetPath(found.block, heads))


@pytest.mark.parametrize("baseline", PATH_BASELINES)
@pytest.mark.parametrize("name", NAMES)
def test_without_laws_the_general_paths_give_the_same_maps(name: str, baseline: Any) -> None:
    found = opened(name)[1]
    with_laws, without = integrator(found), integrator(Opened(found.block, None))
    assert_close(without.layer(baseline).attribution.values, with_laws.layer(baseline).attribution.values, TIGHT)
    assert without.layer(baseline).engine in ("factored/tangent", "factored/replayed")


@pytest.mark.parametrize("name", NAMES)
def test_the_cheap_path_laws_are_the_ones_used(name: str) -> None:
    zero = "factored/tangent" if FAMILIES[name].key_norm else "factored/scaled"
    for found in opened(name):
        assert integrator(found).layer("zero").engine == zero
        assert integrator(found).layer("self_input_token").engine == "factored/closed"


@pytest.mark.parametrize("tokens", range(1, 7))
@pytest.mark.parametrize("name", ["gemma3", *(name for name in NAMES if FAMILIES[name].key_norm)])
def test_as_many_tokens_as_heads_have_the_laws_of_any_number(name: str, tokens: int) -> None:
    learnt = opened(name)[0].laws
    block, own = (getattr(opened(name, IDS[:tokens])[0], part) for part in ("block", "laws"))
    for laws in (learnt, own):
        path = target_path(block, laws, torch.arange(block.num_heads))
        assert isinstance(path, ClosedTargetPath)


@pytest.mark.parametrize("name", ["bert", "llama", "qwen3"])
def test_a_wrong_law_is_noticed(name: str) -> None:
    found = opened(name)[1]
    assert found.laws is not None
    wrong_norm = type(found.laws.norm)("layer", 0.01)
    laws = type(found.laws)(wrong_norm, True, found.laws.key_norm, found.laws.positions)
    assert not ScaledPath(found.block, wrong_norm, torch.arange(4)).matches_replay()
    assert not ClosedTargetPath(found.block, laws, torch.arange(4)).matches_replay()
    right = integrator(found)
    for baseline in PATH_BASELINES:
        values = integrator(Opened(found.block, laws)).layer(baseline).attribution.values
        assert_close(values, right.layer(baseline).attribution.values, TIGHT)


@pytest.mark.parametrize("name", CAUSAL)
def test_causal_models_give_exactly_0_from_the_future(name: str) -> None:
    future = torch.ones(len(IDS), len(IDS), dtype=torch.bool).triu(1)  # [target, source]: the source comes later
    for found in opened(name):
        maps = integrator(found)
        for baseline in PATH_BASELINES:
            assert not maps.layer(baseline).attribution.values[future].any()
            assert not maps.att(baseline, EVERY_HEAD).values.transpose(0, 1)[:, future].any()


@pytest.mark.parametrize("name", NAMES)
def test_a_targets_own_term_is_exactly_0_when_it_is_its_own_baseline(name: str) -> None:
    for found in opened(name):
        maps = integrator(found)
        assert not maps.layer("self_input_token").attribution.values.diagonal().any()
        assert not maps.att("self_input_token", EVERY_HEAD).values.diagonal(dim1=0, dim2=2).any()


def test_equal_tokens_in_an_encoder_without_positions_feed_each_other_nothing() -> None:
    found = opened("t5_encoder")[0]  # its first layer's z has no positions: tokens 1 and 4 are the same
    assert IDS[1] == IDS[4]
    values = integrator(found).layer("self_input_token").attribution.values
    assert_close(values[[1, 4], [4, 1]], [0.0, 0.0], ROUNDING, scale=values)


MAPS: dict[str, Callable[[Integrator], Tensor]] = {
    "layer zero": lambda maps: maps.layer("zero").attribution.values,
    "layer self": lambda maps: maps.layer("self_input_token").attribution.values,
    "att zero": lambda maps: maps.att("zero", EVERY_HEAD).values,
    "att self": lambda maps: maps.att("self_input_token", EVERY_HEAD).values,
    "mlp zero": lambda maps: maps.mlp_from_heads("zero").attribution.values,
    "mlp self": lambda maps: maps.mlp_from_heads("att_itb_a0").attribution.values,
}


@pytest.mark.parametrize("size", [1, 20_000, 100_000])
@pytest.mark.parametrize("name", ["bert", "llama", "qwen3", "gpt_oss"])
def test_chunks_of_any_size_give_the_same_numbers(name: str, size: int) -> None:
    found = opened(name)[1]
    for make in MAPS.values():
        whole, pieces = make(integrator(found)), make(integrator(found, budget=Budget(size)))
        assert_close(pieces, whole, ROUNDING)


@pytest.mark.parametrize("name", NAMES)
def test_some_targets_are_columns_of_the_full_result(name: str) -> None:
    found, some = opened(name)[1], torch.tensor([1, 4, 5])
    for make in MAPS.values():
        assert_close(make(integrator(found, some)), make(integrator(found))[some], ROUNDING)


@pytest.mark.parametrize("baseline", ["zero", "self_input_token", "itb_zero_ratio", "itb_map_ratio"])
@pytest.mark.parametrize("name", NAMES)
def test_some_heads_are_a_slice_of_the_full_result(name: str, baseline: Any) -> None:
    found = opened(name)[1]
    whole, some = integrator(found).att(baseline, EVERY_HEAD), integrator(found).att(baseline, [3, 1])
    assert some.heads == (3, 1)
    assert_close(some.values, whole.values[:, [3, 1]], ROUNDING)
    assert torch.equal(whole.only(1).values[:, 0], whole.values[:, 1])


@pytest.mark.parametrize("name", NAMES)
def test_a_text_padded_inside_a_batch_gives_the_numbers_it_gives_alone(name: str) -> None:
    model = pluggable(name)
    ids = torch.tensor([[*IDS, 0, 0, 0], [9, 8, 7, 6, 5, 4, 30, 31, 32]])
    mask = torch.tensor([[1] * 6 + [0] * 3, [1] * 9])
    padded, _ = capture_blocks(model, {"input_ids": ids, "attention_mask": mask})
    for layer in EVERY_LAYER:
        alone = opened(name)[layer]
        inside = Opened(Block.open(padded[layer], alone.block.wiring), alone.laws)
        for make in MAPS.values():
            found, expected = make(integrator(inside)), make(integrator(alone))
            if found.shape != expected.shape:  # sources: the padding feeds nothing
                assert not found[..., 6:].any()
                found = found[..., :6]
            assert_close(found, expected, TIGHT)


def test_a_map_of_an_affine_layer_is_known_in_closed_form() -> None:
    """With one token and no norms in the way, z→u is affine: its whole length comes from that token."""
    found = opened("bert", (IDS[0],))[0]
    one = torch.zeros(1, dtype=torch.long)
    maps = SplitBlockIntegrator(found.block, found.laws, one, GaussLegendre(1))
    zero = maps.att("zero", EVERY_HEAD)
    at_zero = truth("bert", 0)
    value = at_zero.layer.attention.self.value
    moved = (found.block.z @ value.weight.T).unflatten(-1, (4, 8))[0].norm(dim=-1)  # ‖W_v z‖ per head
    assert_close(zero.values[0, :, 0], moved, ROUNDING)
    assert not maps.att("self_input_token", EVERY_HEAD).values.any()


@pytest.mark.parametrize("integrand", [LayerIntegrand, AttentionIntegrand])
@pytest.mark.parametrize("name", ["bert", "llama", "gemma2", "qwen3", "deberta"])
def test_columns_with_nodes_of_their_own_are_those_columns_alone(name: str, integrand: Any) -> None:

    found = opened(name)[0]
    split = integrator(found)
    if not isinstance(split, SplitBlockIntegrator):
        pytest.fail(f"{name} does not split")
    path = split._path(False, range(split.num_heads))
    rates = integrand(split.block, path, ALL_TARGETS, Budget())
    rates.totals()
    generator = torch.Generator().manual_seed(0)
    for count in (2, len(ALL_TARGETS), rates.num_columns, 2 * rates.num_columns):
        columns = torch.randint(rates.num_columns, (count,), generator=generator)  # some of them more than once
        a = torch.rand(3, 2, generator=generator, dtype=torch.float64)[:, torch.arange(count) % 2]
        weights = torch.rand(2, 3, count, generator=generator, dtype=torch.float64)
        together = rates.accumulate(a, columns, weights)
        for k in range(count):
            alone = rates.accumulate(a[:, k].contiguous(), columns[k : k + 1], weights[..., k].contiguous())
            assert_close(together.weighted[:, k], alone.weighted[:, 0], 1e-11)
            assert_close(together.lengths[:, k], alone.lengths[:, 0], 1e-11)
