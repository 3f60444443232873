"""Models as they are loaded: inspected once, or refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, BertConfig, GPTJConfig

from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.errors import LigError
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.models.catalog import ModelCard, find_model
from tests.models.tiny_models import LAYERS, TOKENS, USUAL, tiny_tokenizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_freshly_initialised_bert_is_split(dtype: torch.dtype) -> None:
    """Along its zero path everything happens at a ~ 1e-12; after that its rates are rounding."""
    register()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(BertConfig(**USUAL), attn_implementation=IMPLEMENTATION).to(dtype)
    found = LoadedModel.of(ModelCard("fresh", "fresh", None, {}), model, tiny_tokenizer())
    assert [facts.wiring is not None for facts in found.facts] == [True] * LAYERS


def test_a_model_without_the_attention_registry_loads_or_is_refused_in_words(tmp_path: Path) -> None:
    config = GPTJConfig(vocab_size=99, n_embd=32, n_layer=3, n_head=4, n_positions=64, rotary_dim=4, **TOKENS)
    AutoModel.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    try:
        load_model(find_model(str(tmp_path)), device="cpu")
    except LigError as refused:
        assert "gptj" in refused.detail.lower()
