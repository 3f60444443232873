"""What a config alone says of a model's sizes, against transformers' own reading and against models that are loaded."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
import transformers
from transformers import CONFIG_MAPPING, AutoModel

from generate.architectures import table
from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.loading.loaded import LoadedModel
from lig_core.models.architectures import FILE, SIZES, Sizes, made_with, types
from lig_core.models.catalog import ModelCard
from lig_core.models.families import first_position
from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.tiny_models import FAMILIES, HEADS, HIDDEN, LAYERS, POSITIONS, VOCABULARY, build, tiny_tokenizer

OF_ENCODER_DECODERS = ("marian", "pegasus", "m2m_100", "blenderbot", "blenderbot-small", "mbart", "plbart", "nllb-moe")
OTHERS = (
    "esm",
    "markuplm",
    "mt5",
    "umt5",
    "mpt",
    "biogpt",
    "gpt_bigcode",
    "ibert",
    "rembert",
    "xlm-roberta-xl",
    "ctrl",
)
SMALL = dict(zip(SIZES, (LAYERS, HEADS, HIDDEN, POSITIONS, VOCABULARY), strict=True))
MORE = {
    "decoder_layers": 1,
    "num_decoder_layers": 1,
    "decoder_attention_heads": HEADS,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "intermediate_size": 48,
    "d_ff": 48,
    "d_kv": 8,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": 2,
}
pinned = pytest.mark.skipif(transformers.__version__ != made_with(), reason="the table is of another transformers")


@pinned
def test_the_table_is_what_transformers_says() -> None:
    assert FILE.read_text(encoding="utf-8") == table(), "run: make architectures"


def read_alone(config: dict[str, Any]) -> list[int | None]:
    found = Sizes.of(json.loads(json.dumps(config)))
    return [found.layers, found.heads, found.hidden, found.positions, found.rows]


@pytest.mark.parametrize("spelled", ["own", "common", "both", "absent"])
@pytest.mark.parametrize("name", [*OF_ENCODER_DECODERS, *OTHERS, "bart", "gpt2", "distilbert", "t5", "llama", "bert"])
def test_a_size_is_read_under_the_name_that_the_library_reads_it_under(name: str, spelled: str) -> None:
    """Some configs have a size under both names, and not the same: the common one is what the library takes."""
    row, kind = types()[name], CONFIG_MAPPING[name]
    for k, (size, value) in enumerate(zip(SIZES, (24, 8, 1536, 96, 200), strict=True)):
        if size not in row:
            continue
        own, common = {row[size][0]: value}, {size: 2 * value}
        written = {"own": own, "common": common, "both": {**own, **common}, "absent": {}}[spelled]
        expected = getattr(kind(**written), size)
        if size == "max_position_embeddings":
            expected -= first_position({"model_type": name})
        assert read_alone({"model_type": name, **written})[k] == expected, size


@pytest.mark.parametrize("name", FAMILIES)
def test_the_config_of_a_tiny_family_says_what_the_loaded_model_has(name: str) -> None:
    model = build(FAMILIES[name], "lig", torch.float32)
    agree(ModelCard(name, name, None, json.loads(FAMILIES[name].config.to_json_string(use_diff=True))), model)


@pytest.mark.parametrize("name", [*OF_ENCODER_DECODERS, *OTHERS])
def test_the_config_of_another_family_says_what_the_loaded_model_has(name: str) -> None:
    row, kind = types()[name], CONFIG_MAPPING[name]
    fields = {key: value for key, value in MORE.items() if hasattr(kind(), key)}
    config = kind(**{row[size][0]: value for size, value in SMALL.items() if size in row}, **fields)
    register()
    with torch.random.fork_rng():
        model = AutoModel.from_config(config, attn_implementation=attention_of(name))
    if config.is_encoder_decoder:
        model = model.get_encoder()
    agree(ModelCard(name, name, None, {**json.loads(config.to_json_string(use_diff=True)), "model_type": name}), model)


def attention_of(name: str) -> str:
    return "eager" if name in {"mpt", "ctrl", "ibert", "rembert"} else IMPLEMENTATION


def agree(card: ModelCard, model: Any) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 10**30
    loaded = LoadedModel.of(card, model, tokenizer)
    assert (card.num_layers, card.num_heads, card.positions) == (
        loaded.num_layers,
        loaded.num_heads,
        loaded.max_tokens,
    )
    assert card.sizes.hidden == model.config.get_text_config().hidden_size
    assert card.num_layers == LAYERS


@pytest.mark.parametrize("value", [None, "3", 3.0, True, -3, 0, [3], {}])
def test_a_size_that_is_none_is_not_said(value: Any) -> None:
    assert Sizes.of({"model_type": "bert", "num_hidden_layers": value}).layers is None


@pytest.mark.parametrize("text", [None, "x", [], {}, {"num_hidden_layers": 2}])
def test_a_part_is_read_with_its_own_type_s_names_and_defaults(text: Any) -> None:
    found = Sizes.of({"model_type": "gemma3", "text_config": text})
    assert found.layers == (None if not isinstance(text, dict) else text.get("num_hidden_layers", 26))


def test_a_type_that_is_not_in_the_table_is_read_by_the_usual_names() -> None:
    assert Sizes.of({"model_type": "new", "n_layers": 5, "text_config": {"num_heads": 4}}) == Sizes(
        5, 4, None, None, None
    )
