"""How many tokens a model has room for: its config alone says what the loaded model does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel, PreTrainedConfig

from lig_core.loading.loaded import max_tokens
from lig_core.models.catalog import ModelCard
from lig_core.models.families import AFTER_PADDING
from lig_core.models.tokenizer_files import NO_LIMIT
from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.tiny_models import FAMILIES, POSITIONS, USUAL, tiny_tokenizer


def room(config: PreTrainedConfig) -> tuple[int | None, int | None]:
    """By the config, and by the model."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = NO_LIMIT
    with torch.device("meta"):
        model = AutoModel.from_config(deepcopy(config))
    model = model.get_encoder() if model.config.is_encoder_decoder else model  # as it is loaded
    return ModelCard("x", "x", None, config.to_dict()).positions, max_tokens(model, tokenizer)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_s_config_says_what_its_model_does(name: str) -> None:
    told, true = room(FAMILIES[name].config)
    assert told == true


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("model_type", sorted(AFTER_PADDING))
def test_positions_after_any_padding_index_are_counted(model_type: str, padding: int) -> None:
    told, true = room(AutoConfig.for_model(model_type, **{**USUAL, "pad_token_id": padding}))
    assert told == true
    assert told in {POSITIONS - padding - 1, POSITIONS - 2}


@pytest.mark.parametrize("said", [{}, {"pad_token_id": None}])
@pytest.mark.parametrize("model_type", sorted(AFTER_PADDING - {"esm"}))  # ESM's has none: its own configs say it
def test_a_config_that_does_not_say_the_padding_index_has_its_family_s(model_type: str, said: dict[str, Any]) -> None:
    config = AutoConfig.for_model(model_type, max_position_embeddings=514)
    card = ModelCard("x", "x", None, {"model_type": model_type, "max_position_embeddings": 514, **said})
    assert card.positions == 514 - 1 - config.pad_token_id


def has_positions(config: PreTrainedConfig) -> bool:
    return isinstance(getattr(config.get_text_config(), "max_position_embeddings", None), int)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if has_positions(family.config)])
def test_as_many_positions_as_words_are_all_for_tokens(name: str) -> None:
    config = deepcopy(FAMILIES[name].config)
    text = config.get_text_config()
    text.vocab_size, text.pad_token_id = text.max_position_embeddings, 0
    told, true = room(config)
    assert told == true


def test_a_config_that_leaves_its_positions_out_has_its_family_s() -> None:
    assert ModelCard("x", "x", None, {"model_type": "roberta"}).positions == 512 - 2


@pytest.mark.parametrize("config", [{"max_position_embeddings": None}, {"max_position_embeddings": -1}])
def test_a_config_that_sets_no_limit_is_not_given_one(config: dict[str, Any]) -> None:
    assert ModelCard("x", "x", None, {"model_type": "roberta", **config}).positions is None
