"""A step between the head outputs and their projection is said, and nothing is said where there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.blocks.block import Block
from lig_core.blocks.capture import capture_blocks
from lig_core.blocks.introspect import find_tiling, find_wiring
from lig_core.blocks.layout import find_layout
from lig_core.blocks.precision import working_precision
from lig_core.loading.loaded import LoadedModel
from lig_core.models.catalog import ModelCard
from tests.models.tiny_models import ALL_FAMILIES, HEADS, HIDDEN, IDS, POSITIONS, VOCABULARY, opened, tiny_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": 2,
    "num_attention_heads": HEADS,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
}
GATED = {
    "head_dim": 8,
    "layer_types": ["full_attention"] * 2,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
    "use_cache": False,  # transformers 5.4 makes none of full attention alone
}


def made(model_type: str, **more: Any) -> Any:
    register()
    torch.manual_seed(0)
    config = AutoConfig.for_model(model_type, **SIZES, **more)
    model = AutoModel.from_config(config, attn_implementation=IMPLEMENTATION, experts_implementation="eager")
    return model.eval().double().requires_grad_(False)


@pytest.mark.parametrize(("model_type", "more", "step"), [("bitnet", {}, "norm"), ("qwen3_next", GATED, "gate")])
def test_a_step_within_attention_is_said(model_type: str, more: dict[str, Any], step: str) -> None:
    with working_precision(torch.float64):
        model = made(model_type, **more)
        (calls,) = capture_blocks(model, {"input_ids": torch.tensor([IDS])})
        layout = find_layout(Block.open(calls[1], find_wiring(calls[1], find_tiling(calls[1]))))
        described = LoadedModel.of(ModelCard("steps", "", None, {}), model, tiny_tokenizer()).boundaries()
    assert (layout.norms, layout.step) == ("pre", step)
    assert f"before the {step}" in described["u_nodes"]["heads"]
    assert described["nodes"]["u"] == "the stream after attention: z + attention(norm(z))"


@pytest.mark.parametrize("name", [family.name for family in ALL_FAMILIES])
def test_where_head_outputs_are_projected_themselves_no_step_is_said(name: str) -> None:
    with working_precision(torch.float64):
        assert {find_layout(found.block).step for found in opened(name)} == {None}
