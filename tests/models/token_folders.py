"""Model folders whose tokenizers are as people have them, and what is right to answer: for Python, command and HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, BertConfig, GPT2Config, PreTrainedConfig, PreTrainedTokenizerFast, T5Config

from tests.models.tiny_models import FAMILIES, USUAL

LEARNT = ["Ships carry grain and old maps over cold water.", "a b c d e f g h i j k l m", "Hello small world."] * 5
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
NAMES = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Row:
    """How a folder is made, what is asked of it, and the tokens of the answer, or the code and words of a refusal."""

    make: Callable[[Path], None]
    ask: dict[str, Any] = field(default_factory=lambda: {"text": "Hello small world."})
    tokens: Sequence[str] | int | None = None
    code: str = ""
    says: str = ""


def wordpiece() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.train_from_iterator(LEARNT, trainers.WordPieceTrainer(vocab_size=70, special_tokens=SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **NAMES)


def byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(LEARNT, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def saved(folder: Path, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerFast | None) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(deepcopy(config)).save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def bert(folder: Path, tokenizer: PreTrainedTokenizerFast | None = None, **sizes: Any) -> None:
    tokenizer = tokenizer or wordpiece()
    rows = {"vocab_size": len(tokenizer), "num_hidden_layers": 1, "pad_token_id": 0}
    saved(folder, BertConfig(**{**USUAL, **rows, **sizes}), tokenizer)


def with_an_added_token(folder: Path) -> None:
    tokenizer = wordpiece()
    bert(folder, tokenizer)
    tokenizer.add_tokens(["<ent>"])
    tokenizer.save_pretrained(folder)


def with_as_many_positions_as_words(folder: Path) -> None:
    tokenizer = wordpiece()
    bert(folder, tokenizer, max_position_embeddings=len(tokenizer))


def of_bytes(folder: Path) -> None:
    tokenizer = byte_level()
    special = {"bos_token_id": 0, "eos_token_id": 0}
    saved(folder, GPT2Config(vocab_size=len(tokenizer), n_embd=32, n_layer=1, n_head=4, **special), tokenizer)


def with_pieces_alone(folder: Path) -> None:
    """A T5 with a SentencePiece model and no tokenizer.json."""
    import sentencepiece

    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LEARNT),
        model_writer=written,
        vocab_size=40,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    config = deepcopy(FAMILIES["t5_encoder"].config)
    assert isinstance(config, T5Config)
    config.vocab_size = 200
    saved(folder, config, None)
    (folder / "spiece.model").write_bytes(written.getvalue())


def without_a_tokenizer(folder: Path) -> None:
    bert(folder)
    for name in TOKENIZER_FILES:
        (folder / name).unlink(missing_ok=True)


def with_a_cut_tokenizer(folder: Path) -> None:
    bert(folder)
    file = folder / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:500])


POSITIONS = len(wordpiece())
ROWS = {
    "added token": Row(
        with_an_added_token,
        {"text": "Hello <ent> world"},
        code="invalid_request",
        says=r"token \d+ \('<ent>', characters 6 to 11\)",
    ),
    "as many positions as words": Row(
        with_as_many_positions_as_words, {"text": "a " * (POSITIONS - 2)}, tokens=POSITIONS
    ),
    "one token more than positions": Row(
        with_as_many_positions_as_words,
        {"text": "a " * (POSITIONS - 1)},
        code="text_too_long",
        says=rf"{POSITIONS + 1} tokens.*at most {POSITIONS} ",
    ),
    "Devanagari by words": Row(of_bytes, {"text": "नमस्ते दुनिया", "merge_subwords": True}, tokens=["नमस्ते", "दुनिया"]),
    "part of a word by words": Row(
        of_bytes, {"text": "a zzzz", "merge_subwords": True, "target_tokens": [3]}, tokens=["a", "zzzz"]
    ),
    "SentencePiece alone": Row(with_pieces_alone, {"text": "a b", "merge_subwords": True}, tokens=["a", "b", "</s>"]),
    "no tokenizer": Row(without_a_tokenizer, code="unsupported_model", says="comes without a tokenizer"),
    "a cut tokenizer": Row(with_a_cut_tokenizer, code="unsupported_model", says="the tokenizer of .* cannot be read"),
}


def asked(row: Row, model: str) -> dict[str, Any]:
    """The request of a row."""
    return {"model": model, "granularity": "layer", "layers": [0], "rtol": 0.1, **row.ask}


def require_answer(row: Row, result: dict[str, Any]) -> None:
    """The row's tokens, and a column for each target."""
    assert row.tokens is not None, result["tokens"]
    if isinstance(row.tokens, int):
        assert len(result["tokens"]) == row.tokens
    else:
        assert result["tokens"] == list(row.tokens)
    converged = result["layers"]["0"]["z2z"]["certificate"]["converged"]
    assert any(one is not None for one in converged)
