"""Every family, as the product loads it, against plain automatic differentiation of the model's own eager layers.

Float64; differences are relative to the largest value of the map. Texts stand alone and padded inside a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, SwitchTransformersConfig, XLMConfig, XLNetConfig

from lig_core.blocks.block import Block
from lig_core.blocks.capture import capture_blocks
from lig_core.blocks.introspect import expert_capacity, find_tiling, find_wiring
from lig_core.blocks.precision import working_precision
from lig_core.errors import UnsupportedMap, UnsupportedModel
from lig_core.loading.inspection import inspect_layer
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.integrators import Integrator, SplitBlockIntegrator
from lig_core.models.catalog import ModelCard
from lig_core.quadrature import GaussLegendre
from tests.models.brute_force import TinyTruth, gauss
from tests.models.tiny_families import CROWDED, INTROSPECTED, MAMBA, PAIRWISE, PLUGGABLE, T5_USUAL, TAPPED
from tests.models.tiny_models import ALL_FAMILIES, FAMILIES, IDS, build, loaded, tiny_tokenizer
from tests.support.closeness import assert_close, relative

NODES, TIGHT = 2, 1e-9
NAMES = [family.name for family in (*ALL_FAMILIES, *PLUGGABLE, *TAPPED, *PAIRWISE, *INTROSPECTED)]
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
    for layer in (2,) if FAMILIES[name] in ALL_FAMILIES else (0, 2):  # test_engines has every layer of those
        maps = model.integrator(layer, alone[layer], TARGETS, GaussLegendre(NODES))
        check(maps, TinyTruth(name, layer), ("zero", "self_input_token"), ("zero", "att_itb_a0"))
    ids = torch.tensor([(*IDS, 0, 0, 0), BESIDE])
    padded, _ = model.capture({"input_ids": ids, "attention_mask": torch.tensor([MASK, (1,) * len(BESIDE)])})
    expected = TinyTruth(name, 1, {"input_ids": ids[:1], "attention_mask": torch.tensor([MASK])})
    maps = model.integrator(1, padded[1], TARGETS, GaussLegendre(NODES))
    check(maps, expected, ("zero", "self_input_token"), ("zero", "att_itb_a0"))


def check(maps: Integrator, expected: TinyTruth, baselines: tuple[Any, ...], mlp_baselines: tuple[Any, ...]) -> None:
    assert isinstance(maps, SplitBlockIntegrator)
    block, expected.targets = maps.block, TARGETS.tolist()
    probe = torch.stack([block.z, 0.1 * block.z.flip(0)])
    assert_close(block.replay(probe), torch.stack([expected.run(z) for z in probe]), TIGHT)
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
            for bypass in (True, False):
                found = maps.mlp_from_residual(baseline, bypass=bypass).attribution.values
                close(found, expected.mlp_map_residual(baseline, *quadrature, bypass=bypass))


def close(found: Tensor, expected: Tensor) -> None:
    assert_close(found, expected, TIGHT)


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
    assert_close(out[1], out[0], TIGHT)  # the same token at every place
    assert relative(out[-1], out[0]) > 0.01  # but the last found no room


@pytest.mark.parametrize("name", [family.name for family in PAIRWISE])
def test_pairwise_logits_follow_a_closed_form_that_is_the_replayed_path(name: str) -> None:
    model = loaded(name)
    (calls,) = model.capture({"input_ids": torch.tensor([IDS])})
    for layer in (0, 2):
        maps = model.integrator(layer, calls[layer], TARGETS, GaussLegendre(NODES))
        assert isinstance(maps, SplitBlockIntegrator)
        general = SplitBlockIntegrator(maps.block, None, TARGETS, GaussLegendre(NODES))
        found, expected = (each.layer("self_input_token") for each in (maps, general))
        assert (found.engine, expected.engine) == ("factored/closed", "factored/replayed")
        close(found.attribution.values, expected.attribution.values)
        some = (each.att("self_input_token", [3, 1]).values for each in (maps, general))
        close(*some)
        assert maps.layer("zero").engine == "factored/pairwise"


@pytest.mark.parametrize("name", ["roberta", "electra", "albert", "mistral", "qwen2", "gemma", "gemma3_text"])
def test_where_attention_can_be_plugged_in_it_is_not_tapped(name: str) -> None:
    assert all(facts.wiring is not None and facts.wiring.tap is None for facts in loaded(name).facts)


def test_a_block_with_two_attentions_is_not_taken_apart() -> None:
    model = build(FAMILIES["mpnet"], "eager")
    block = model.encoder.layer[1]
    plain = block.forward
    block.forward = lambda hidden, *args, **kwargs: plain(plain(hidden, *args, **kwargs)[0], *args, **kwargs)
    (calls,) = capture_blocks(model, {"input_ids": torch.tensor([IDS])})
    with pytest.raises(UnsupportedModel, match="more than one softmax"):
        find_wiring(calls[1], find_tiling(calls[1]))
    assert inspect_layer(calls[1]).wiring is None


@pytest.mark.parametrize("baseline", ["zero", "self_input_token"])
def test_a_block_without_attention_is_explained_as_a_whole(baseline: Any) -> None:
    model = loaded(MAMBA.name)
    (calls,) = model.capture({"input_ids": torch.tensor([IDS])})
    for layer in (0, 2):
        maps = model.integrator(layer, calls[layer], TARGETS, GaussLegendre(NODES))
        expected = TinyTruth(MAMBA.name, layer)
        expected.targets = TARGETS.tolist()
        assert maps.layer(baseline).engine == "dense"
        close(maps.layer(baseline).attribution.values, expected.layer_map(baseline, *gauss(NODES)))
    for refused in (lambda: maps.att("zero", [0]), lambda: maps.mlp_from_heads("zero")):
        with pytest.raises(UnsupportedMap, match="has no attention that could be found"):
            refused()


@pytest.mark.parametrize("name", ["gpt_neox", "cohere", "falcon", "gptj", "stablelm_parallel"])
def test_side_by_side_blocks_say_that_they_have_no_stream_between(name: str) -> None:
    model = loaded(name)
    (calls,) = model.capture({"input_ids": torch.tensor([IDS])})
    maps = model.integrator(0, calls[0], TARGETS, GaussLegendre(NODES))
    with pytest.raises(UnsupportedMap, match="side by side"):
        maps.mlp_from_residual("zero")
    assert model.boundaries()["layout"] == "parallel_ln_decoder"


def test_a_stream_that_is_not_found_is_refused_not_guessed() -> None:
    """Granite scales what attention adds; u is neither a module's output nor that plus z."""
    model = build(FAMILIES["granite"], "lig")
    for layer in model.layers:
        layer.residual_multiplier = 0.3
    (calls,) = capture_blocks(model, {"input_ids": torch.tensor([IDS])})
    block = Block.open(calls[1], find_wiring(calls[1], find_tiling(calls[1])))
    assert not block.wiring.parallel
    with pytest.raises(UnsupportedMap, match="could not be found"):
        block.finish_from_residual(block.z)


def test_parts_of_blocks_that_are_repeated_modules_too_are_not_taken_for_blocks() -> None:
    """XLM keeps its attentions in one list and its MLPs in another: maps of either would be no layer's."""
    config = XLMConfig(vocab_size=99, emb_dim=32, n_layers=3, n_heads=4, pad_index=0)
    model = AutoModel.from_config(config).double().eval()
    with pytest.raises(UnsupportedModel, match=r"that the next call goes on from \(seen: MultiHeadAttention ×3"):
        capture_blocks(model, {"input_ids": torch.tensor([IDS])})


def test_an_expert_too_small_for_the_sentence_that_models_are_inspected_on_is_left_whole() -> None:
    config = SwitchTransformersConfig(**T5_USUAL, num_sparse_encoder_layers=1, num_experts=4, expert_capacity=4)
    model = AutoModel.from_config(config).get_encoder().double().eval()
    found = LoadedModel.of(ModelCard("small", "small", None, {}), model, tiny_tokenizer())
    sparse = [expert_capacity(block) is not None for block in model.block]
    assert [facts.wiring is None for facts in found.facts] == sparse
    assert any(sparse)
    assert not all(sparse)


def test_a_model_whose_hidden_states_are_laid_out_otherwise_is_refused() -> None:
    config = XLNetConfig(vocab_size=99, d_model=32, n_layer=2, n_head=4, d_inner=48, pad_token_id=0)
    model = AutoModel.from_config(config).double().eval()
    with pytest.raises(UnsupportedModel, match="no repeated module"):
        capture_blocks(model, {"input_ids": torch.tensor([IDS])})
