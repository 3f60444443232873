"""A block's parts are the model's own numbers, and what is found out about a layer is true."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lig_core.blocks.block import Block
from lig_core.blocks.capture import capture_blocks
from lig_core.blocks.introspect import find_tiling, find_wiring
from lig_core.blocks.laws import key_at_zero_norm_input, norm_input
from lig_core.blocks.precision import working_precision
from lig_core.errors import UnsupportedMap, UnsupportedModel
from tests.models.brute_force import truth
from tests.models.tiny_models import ALL_FAMILIES, CAUSAL, FAMILIES, IDS, LAYERS, build, loaded, opened, pluggable
from tests.support.closeness import assert_close

EXACT = 1e-12
EVERY_LAYER = range(LAYERS)
NAMES = [family.name for family in ALL_FAMILIES]
SEQUENTIAL = [family.name for family in ALL_FAMILIES if not family.parallel]


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    with working_precision(torch.float64):
        yield


def random_like(x: Tensor, seed: int = 7) -> Tensor:
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    return noise * x.std()


@pytest.mark.parametrize("name", NAMES)
def test_the_captured_input_and_output_are_the_layers_own(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        assert_close(block.z, expected.z, EXACT)
        assert_close(block.out, expected.out, EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_a_replay_at_any_hidden_state_is_what_the_layer_computes_there(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        several = torch.stack([block.z, 0.01 * block.z, random_like(block.z)])
        replayed = block.replay(several)
        for z, out in zip(several, replayed, strict=True):
            assert_close(out, expected.run(z), EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_head_outputs_are_what_the_output_projection_receives(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        assert_close(block.heads_out, expected.heads(expected.z), EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_finish_is_the_rest_of_the_layer_for_any_rows_in_any_order(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        rows = torch.tensor([3, 0, 0, 5, 1, 4, 2, 3, 1, 0, 5])  # not a multiple of the text's length
        heads = random_like(block.heads_out)[rows]
        z = random_like(block.z, seed=8)[rows]
        assert_close(block.finish(heads, z), expected.finish(heads, z), EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_the_tangent_of_the_projections_is_their_derivative(name: str) -> None:
    block = opened(name)[1].block
    direction, step = random_like(block.z), 1e-5
    _, tangents = block.project_with_tangent(block.z[None], direction[None])
    ahead, behind = (block.project((block.z + h * direction)[None]) for h in (step, -step))
    for tangent, high, low in zip(tangents, ahead, behind, strict=True):
        assert_close(tangent, (high - low) / (2 * step), 1e-7)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_residual_stream_is_the_hand_written_one(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        rows = torch.tensor([4, 2, 2, 0, 1, 5, 3, 1])
        heads, z = random_like(block.heads_out)[rows], random_like(block.z, seed=8)[rows]
        assert_close(block.residual_stream(heads, z), expected.stream(heads, z), EXACT)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_the_second_half_from_any_u_is_the_hand_written_one(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        u = torch.cat([random_like(block.z), 0.01 * random_like(block.z, seed=9)[:3], torch.zeros_like(block.z[:1])])
        assert_close(block.finish_from_residual(u), expected.second_half(u), EXACT)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_without_the_bypass_the_second_half_is_the_mlp_alone(name: str) -> None:
    for layer in EVERY_LAYER:
        block, expected = opened(name)[layer].block, truth(name, layer)
        u = torch.cat([random_like(block.z), 0.01 * random_like(block.z, seed=9)[:3]])
        assert_close(block.finish_from_residual(u, bypass=False), expected.second_half(u, bypass=False), EXACT)


def test_where_the_bypass_is_not_found_cutting_it_is_refused() -> None:
    block = opened("bert")[0].block
    assert block.wiring.residual is not None
    block = replace(block, wiring=replace(block.wiring, residual=replace(block.wiring.residual, bypass=None)))
    with pytest.raises(UnsupportedMap, match="include_residual_connection"):
        block.finish_from_residual(block.z, bypass=False)


@pytest.mark.parametrize("name", ["gpt_neox", "cohere"])
def test_a_parallel_block_has_no_stream_after_attention(name: str) -> None:
    block = opened(name)[0].block
    with pytest.raises(UnsupportedMap, match="u_node='heads'"):
        block.residual_stream(block.heads_out, block.z)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_causal_block_never_sees_the_future(name: str) -> None:
    for found in opened(name):
        changed = found.block.z.clone()
        changed[4:] = random_like(changed)[4:]
        before, after = (found.block.replay(z[None])[0, :4] for z in (found.block.z, changed))
        assert_close(after, before, 1e-14)  # not 0: an expert's matrix product rounds by how many tokens it gets


@pytest.mark.parametrize("name", NAMES)
def test_a_padded_text_is_captured_as_it_is_alone(name: str) -> None:
    model = pluggable(name)
    ids = torch.tensor([[*IDS, 0, 0, 0], [9, 8, 7, 6, 5, 4, 30, 31, 32]])
    mask = torch.tensor([[1] * 6 + [0] * 3, [1] * 9])
    padded, longer = capture_blocks(model, {"input_ids": ids, "attention_mask": mask})
    for layer in EVERY_LAYER:
        alone = opened(name)[layer].block
        block = Block.open(padded[layer], find_wiring(longer[layer], find_tiling(longer[layer])))
        assert_close(block.z[:6], alone.z, EXACT)
        assert_close(block.out[:6], alone.out, EXACT)
        assert_close(block.heads_out[:6], alone.heads_out, EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_the_place_where_u_enters_is_the_familys(name: str) -> None:
    for found in opened(name):
        residual = found.block.wiring.residual
        assert (None if residual is None else residual.holds) == FAMILIES[name].holds


@pytest.mark.parametrize("name", NAMES)
def test_the_norm_before_attention_is_found_with_its_epsilon(name: str) -> None:
    for found, (kind, eps) in zip(opened(name), FAMILIES[name].norms, strict=True):
        assert found.laws is not None
        assert found.laws.norm.kind == kind
        assert eps is None or found.laws.norm.eps == eps


@pytest.mark.parametrize("name", NAMES)
def test_how_keys_turn_with_position_is_found(name: str) -> None:
    kind, layout, dims = FAMILIES[name].positions
    for found in opened(name):
        assert found.laws is not None
        assert found.laws.positions.kind == kind
        if kind == "rotary":
            assert (found.laws.positions.layout, found.laws.positions.dims) == (layout, dims)


@pytest.mark.parametrize("name", NAMES)
def test_a_norm_on_the_keys_is_found_where_there_is_one(name: str) -> None:
    expected = FAMILIES[name].key_norm
    for found in opened(name):
        assert found.laws is not None
        key_norm = found.laws.key_norm
        assert (key_norm is None) == (expected is None)
        if key_norm is not None:
            one_for_all = norm_input(found.block, key_norm, found.block.z)[0].shape != found.block.attention.key.shape
            assert ("full" if one_for_all else "head") == expected
            assert key_norm.tokens_axis == 1  # both norm before heads and tokens change places
        assert found.laws.shared == (expected is None)


@pytest.mark.parametrize("name", ["qwen3", "olmo2"])
def test_the_key_norms_input_is_the_key_projection(name: str) -> None:
    found = opened(name)[1]
    assert found.laws is not None
    assert found.laws.key_norm is not None
    attention = found.block.wiring.attention
    stream = found.block.z if name == "olmo2" else found.block.call.module.input_layernorm(found.block.z)
    keys = attention.k_proj(stream).unflatten(-1, (2, 8)).transpose(0, 1)[None]  # [1, groups, tokens, head_dim]
    raw, projections = norm_input(found.block, found.laws.key_norm, found.block.z)
    expected = keys if name == "qwen3" else keys.transpose(1, 2).flatten(-2).unsqueeze(1)
    assert_close(raw, expected, EXACT)
    assert_close(projections.key, found.block.projections.key, EXACT)
    assert not key_at_zero_norm_input(found.block, found.laws.key_norm).any()  # an RMSNorm of zeros


def test_facts_found_on_the_probe_sentence_are_those_found_on_another_text() -> None:
    for name in ("bert", "llama", "gemma2"):
        for facts, found in zip(loaded(name).facts, opened(name), strict=True):
            assert facts.laws == found.laws
            assert facts.wiring is not None
            assert facts.wiring.any_length == found.block.wiring.any_length
            assert facts.wiring.tiling == found.block.wiring.tiling


def test_a_block_whose_replay_differs_is_refused() -> None:
    model = build(FAMILIES["bert"], "lig")
    (calls,) = capture_blocks(model, {"input_ids": torch.tensor([IDS])})
    wiring = find_wiring(calls[0], find_tiling(calls[0]))
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight *= 1.01
    with pytest.raises(UnsupportedModel, match="differs from the model's own output"):
        Block.open(calls[0], wiring)


def test_a_block_whose_tokens_meet_outside_attention_is_refused() -> None:
    model = build(FAMILIES["bert"], "lig")
    dense = model.encoder.layer[0].output.dense
    dense.register_forward_hook(lambda _module, _args, out: out + out.mean(1, keepdim=True))
    (calls,) = capture_blocks(model, {"input_ids": torch.tensor([IDS])})
    with pytest.raises(UnsupportedModel, match="token"):
        find_wiring(calls[0], find_tiling(calls[0]))


def test_a_model_without_repeated_blocks_is_refused() -> None:
    class Flat(nn.Module):
        config = FAMILIES["bert"].config

        def forward(self, input_ids: Tensor) -> Tensor:
            return input_ids.double()

    with pytest.raises(UnsupportedModel, match="no repeated module"):
        capture_blocks(Flat(), {"input_ids": torch.tensor([IDS])})


class Layered(nn.Module):
    """Layers that hand their outputs on to each other, or that all begin with the same."""

    def __init__(self, layers: int, *, chained: bool) -> None:
        super().__init__()
        self.config = copy.deepcopy(FAMILIES["bert"].config)
        self.config.num_hidden_layers = layers
        self.layers = nn.ModuleList(nn.Linear(8, 8, dtype=torch.float64) for _ in range(layers))
        self.chained = chained

    def forward(self, input_ids: Tensor) -> Tensor:
        first = nn.functional.one_hot(input_ids % 8, 8).double()
        hidden = first
        for layer in self.layers:
            hidden = layer(hidden if self.chained else first)
        return hidden


def test_layers_that_do_not_go_on_from_each_other_are_no_blocks() -> None:
    inputs = {"input_ids": torch.tensor([IDS])}
    (calls,) = capture_blocks(Layered(3, chained=True), inputs)
    assert all(torch.equal(call.out, after.z) for call, after in itertools.pairwise(calls))
    with pytest.raises(UnsupportedModel, match="hidden state that the next call goes on from"):
        capture_blocks(Layered(3, chained=False), inputs)


def test_the_one_layer_of_a_model_is_its_block() -> None:
    (calls,) = capture_blocks(Layered(1, chained=True), {"input_ids": torch.tensor([IDS])})
    assert len(calls) == 1


@pytest.mark.parametrize("name", NAMES)
def test_kinks_are_found_where_the_config_says_relu_or_experts(name: str) -> None:
    config = FAMILIES[name].config.to_dict()
    relu = any(config.get(field) == "relu" for field in ("hidden_act", "activation_function", "dense_act_fn"))
    assert all(found.block.kinked == (relu or "num_local_experts" in config) for found in opened(name))
