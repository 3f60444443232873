"""Edges: missing masks, few positions, one node, unusual norms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import AutoModel, BertConfig, PreTrainedConfig, RobertaConfig

from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.contract import ExplainRequest
from lig_core.errors import TextTooLong
from lig_core.loading.loaded import LoadedModel
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.method import run
from lig_core.models.catalog import ModelCard
from tests.models.tiny_models import POSITIONS, USUAL, loaded, opened, tiny_tokenizer
from tests.models.together import explain_together
from tests.support.captum_trapezoid import RiemannTrapezoid
from tests.support.closeness import assert_close


def fresh(config: PreTrainedConfig) -> LoadedModel:
    register()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config, attn_implementation=IMPLEMENTATION)
    return LoadedModel.of(ModelCard("fresh", "fresh", None, config.to_dict()), model, tiny_tokenizer())


def test_a_batch_of_a_tokenizer_without_masks_gives_the_numbers_of_each_text_alone() -> None:
    """Padding without an attention mask takes part in an encoder's attention: silently wrong numbers."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_input_names = ["input_ids"]
    model = replace(loaded("bert"), tokenizer=tokenizer)
    texts = ("fox sat", "the quick fox sat on a mat")
    requests = [ExplainRequest(text=text, granularity="layer", num_steps=2, layers=[0]) for text in texts]
    tokens, (maps,) = explain_together(requests, model)[0]
    alone = run(requests[0], model)["layers"]["0"]["z2z"]["matrix"]
    assert_close(maps.layer.attribution.values[:, : len(tokens)].T, alone, 1e-9)


def test_positions_that_a_model_spends_on_its_offset_are_not_promised_to_texts() -> None:
    """RoBERTa's first position is its padding index plus one: of 64 positions, 62 are for tokens."""
    model = fresh(RobertaConfig(**{**USUAL, "pad_token_id": 1}))
    request = {"granularity": "mlp", "layers": [0], "num_steps": 1}
    run(ExplainRequest(text="fox " * (POSITIONS - 2), **request), model)
    with pytest.raises(TextTooLong):
        run(ExplainRequest(text="fox " * (POSITIONS - 1), **request), model)


def test_a_model_with_fewer_positions_than_the_probe_sentence_is_inspected_all_the_same() -> None:
    model = fresh(BertConfig(**{**USUAL, "max_position_embeddings": 16}))
    assert all(facts.wiring is not None for facts in model.facts)


def test_a_trapezoid_of_one_node_finds_nothing_as_captums_does() -> None:
    """Its only node is a = 0, where L has no gradient."""
    found = opened("bert")[0]
    maps = SplitBlockIntegrator(found.block, found.laws, torch.arange(6), RiemannTrapezoid(1))
    assert not maps.layer("zero").attribution.values.any()


def test_a_model_that_norms_only_after_its_halves_is_not_described_as_norming_before() -> None:
    """OLMo 2: u = z + norm(attention(z))."""
    assert "attention(norm(z))" not in loaded("olmo2").boundaries()["u_nodes"]["residual"]
