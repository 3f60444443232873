"""Writes lig_core/models/bundled/smollm2/, config and tokenizer, from the GGUF file: `python -m generate.smollm2`."""

from __future__ import annotations

import json
from typing import Any

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from lig_core.models.bundled.packages import BUNDLED, installed_folder

NAME = "smollm2"


def documents(reader: GGUFReader) -> dict[str, str]:
    """The files by their names, as they stand in the repository."""
    held = {name: field.contents() for name, field in reader.fields.items()}
    return {
        "config.json": _json(_config(held)),
        "tokenizer_config.json": _json(_tokenizer_config(held)),
        "tokenizer.json": f"{_tokenizer(held).to_str()}\n",
    }


def _config(held: dict[str, Any]) -> dict[str, Any]:
    heads, hidden = held["llama.attention.head_count"], held["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "float32",
        "vocab_size": held["llama.vocab_size"],
        "max_position_embeddings": held["llama.context_length"],
        "num_hidden_layers": held["llama.block_count"],
        "hidden_size": hidden,
        "intermediate_size": held["llama.feed_forward_length"],
        "num_attention_heads": heads,
        "num_key_value_heads": held["llama.attention.head_count_kv"],
        "head_dim": hidden // heads,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "rms_norm_eps": held["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": held["llama.rope.freq_base"]},
        "tie_word_embeddings": True,
        **{f"{kind}_token_id": held[f"tokenizer.ggml.{kind}_token_id"] for kind in ("bos", "eos")},
        "pad_token_id": held["tokenizer.ggml.padding_token_id"],
    }


def _tokenizer(held: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE as `tokenizer.ggml.pre: smollm` means it: each digit apart, then GPT-2's rule."""
    assert (held["tokenizer.ggml.model"], held["tokenizer.ggml.pre"]) == ("gpt2", "smollm")
    names, kinds = held["tokenizer.ggml.tokens"], held["tokenizer.ggml.token_type"]
    merges = [(left, right) for left, right in map(str.split, held["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [name for name, kind in zip(names, kinds, strict=True) if kind == TokenType.CONTROL]
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in special])
    return tokenizer


def _tokenizer_config(held: dict[str, Any]) -> dict[str, Any]:
    kinds = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
    names = held["tokenizer.ggml.tokens"]
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": held["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        **{f"{kind}_token": names[held[f"tokenizer.ggml.{key}_token_id"]] for kind, key in kinds.items()},
    }


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write them."""
    conversion, folder = BUNDLED[NAME].conversion, BUNDLED[NAME].description
    assert conversion is not None and folder is not None
    for name, text in documents(GGUFReader(installed_folder(NAME) / conversion.source)).items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
