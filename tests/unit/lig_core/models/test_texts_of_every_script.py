"""Any text, read by any kind of tokenizer: its words are made of its tokens, and the API reads it as the worker does.

Texts, targets and options are drawn from a seed; what must hold is asked of each.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from lig_core.contract import ExplainRequest, parse_request
from lig_core.errors import LigError
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.method import run, stream
from lig_core.models.catalog import ModelCard, find_model
from lig_core.models.tokenizer_files import most_tokens
from service.submit.checks import check_against_tokens
from service.submit.tokens import TokenCounter
from tests.models.texts import SCRIPTS, texts

SEED, TEXTS = 20260621, 520
POSITIONS = 160
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LEARNT = [
    "the quick brown fox jumped over the lazy dogs",
    "".join(SCRIPTS["latin"]),
    "naïve café",
    "नमस्ते दुनिया",
    "สวัสดี",
] * 3
UNEMBEDDED = "<unembedded>"


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return learnt(tokenizer, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL))


def wordpiece_keeping_accents() -> Tokenizer:
    tokenizer = wordpiece()
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    return tokenizer


def byte_level(*, trim: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=trim)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return learnt(tokenizer, trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet))


def unigram(*, split: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("\n", " ")])
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(split=split), decoders.Metaspace()
    return learnt(tokenizer, trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIAL, unk_token="[UNK]"))


def byte_fallback() -> Tokenizer:
    """BPE with ▁ and no words of its own, as Llama's."""
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    own = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    return learnt(tokenizer, trainers.BpeTrainer(vocab_size=500, special_tokens=own, max_token_length=8))


def learnt(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(LEARNT, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "wordpiece": wordpiece,
    "wordpiece_keeping_accents": wordpiece_keeping_accents,
    "byte_level": byte_level,
    "byte_level_with_spaces": lambda: byte_level(trim=False),
    "unigram": unigram,
    "unigram_of_the_whole_text": lambda: unigram(split=False),
    "byte_fallback": byte_fallback,
}


@dataclass(frozen=True)
class Kind:
    """A tiny model with a tokenizer of one kind, as the API sees it and as it is loaded."""

    name: str
    card: ModelCard
    model: LoadedModel

    def refusal_at_post(self, request: ExplainRequest) -> dict[str, Any] | None:
        try:
            check_against_tokens(request, self.card, TokenCounter().count(request, self.card), most_tokens(self.card))
        except LigError as error:
            return error.as_dict()
        return None

    def refusal_of_the_worker(self, request: ExplainRequest) -> dict[str, Any] | None:
        try:
            stream(request, self.model)  # computes no layer
        except LigError as error:
            return error.as_dict()
        return None


@pytest.fixture(scope="module", params=TOKENIZERS)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kind:
    folder = tmp_path_factory.mktemp(request.param)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZERS[request.param](),
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    rows = len(tokenizer)
    tokenizer.add_tokens([UNEMBEDDED])
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=rows, max_position_embeddings=POSITIONS, **sizes)).save_pretrained(folder)
    card = find_model(str(folder))
    return Kind(request.param, card, load_model(card, device="cpu", dtype="float64"))


def asked(text: str, drawn: random.Random, count: int, **fields: Any) -> ExplainRequest:
    """A request for that text, for all or some of its tokens."""
    targets = sorted(drawn.sample(range(count), drawn.randint(1, min(count, 4)))) if drawn.random() < 0.8 else None
    request = {"text": text, "model": "tiny", "granularity": "layer", "num_steps": 1, "target_tokens": targets}
    return parse_request({**request, **fields})


def test_words_are_made_of_the_tokens_of_any_text(kind: Kind) -> None:
    counter = TokenCounter()
    for text in texts(TEXTS, SEED):
        request = parse_request({"text": text, "merge_subwords": True, "target_tokens": [0]})
        count = counter.count(request, kind.card)
        if count.number > POSITIONS:
            continue
        (read,) = kind.model.encode([text]).texts
        assert count.words == read.words, repr(text)
        assert read.words[0] == 0 and {b - a for a, b in pairwise(read.words)} <= {0, 1}, repr(text)
        assert read.offsets is not None
        spans = [(span, word) for span, word in zip(read.offsets, read.words, strict=True) if span[0] < span[1]]
        for ((_, end), a), ((start, _), b) in pairwise(spans):
            assert a != b or not any(map(str.isspace, text[end:start])), repr(text)  # none spans white space
            assert a == b or start >= end, repr(text)  # and none ends inside a character


def test_the_api_and_the_worker_say_the_same_of_any_text(kind: Kind) -> None:
    drawn = random.Random(SEED)
    refused = 0
    for plain in texts(TEXTS, SEED):
        text = f"{plain} {UNEMBEDDED}" if drawn.random() < 0.05 else plain
        count = max(1, len(text) + drawn.randint(-3, 3))
        request = asked(text, drawn, count, merge_subwords=drawn.random() < 0.5)
        said = kind.refusal_at_post(request)
        assert said == kind.refusal_of_the_worker(request), repr(text)
        refused += said is not None
    assert 0 < refused < TEXTS


def test_by_words_no_target_is_lost_and_every_sum_stays(kind: Kind) -> None:
    drawn, done = random.Random(SEED), 0
    for text in texts(TEXTS, SEED)[:: len(TOKENIZERS)] + texts(TEXTS // len(TOKENIZERS), SEED + len(kind.name)):
        count = len(kind.model.tokenizer(text)["input_ids"])
        if count > POSITIONS:
            continue
        request = asked(text, drawn, count, merge_subwords=True)
        by_word = run(request, kind.model)
        by_token = run(request.model_copy(update={"merge_subwords": False, "target_tokens": None}), kind.model)
        require_same_sums(text, request, by_word, by_token)
        done += 1
    assert done > TEXTS // len(TOKENIZERS)


def require_same_sums(text: str, request: ExplainRequest, by_word: dict[str, Any], by_token: dict[str, Any]) -> None:
    words, tokens = by_token["words"], np.array(by_token["layers"]["0"]["z2z"]["matrix"], np.float64)
    whole = range(len(words)) if request.target_tokens is None else request.target_tokens
    wanted = sorted({words[token] for token in whole})
    matrix = np.array(by_word["layers"]["0"]["z2z"]["matrix"], np.float64)
    got = np.flatnonzero(~np.isnan(matrix).any(0)).tolist()
    assert got == wanted, repr(text)
    groups = [np.flatnonzero(np.array(words) == word) for word in range(words[-1] + 1)]
    assert by_word.get("word_tokens", [[token] for token in range(len(words))]) == [g.tolist() for g in groups]
    for word in got:
        expected = [tokens[np.ix_(sources, groups[word])].sum() for sources in groups]
        assert np.abs(matrix[:, word] - expected).max() <= 1e-9 * np.nanmax(np.abs(matrix)), repr(text)
    if len(groups) < len(words):
        for label, (start, end) in zip(by_word["tokens"], by_word["offsets"], strict=True):
            assert not text[start:end].strip() or label == text[start:end] == label.strip(), repr(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("नमस्ते, दुनिया!", ["नमस्ते", ",", "दुनिया", "!"]),
        ("สวัสดีชาวโลก ที่นี่", ["สวัสดีชาวโลก", "ที่นี่"]),
        ("مَرْحَبًا بِالعَالَم", ["مَرْحَبًا", "بِالعَالَم"]),
        ("שָׁלוֹם עוֹלָם.", ["שָׁלוֹם", "עוֹלָם", "."]),
        ("می\u200cخواهم این", ["می\u200cخواهم", "این"]),
        ("👩\u200d👩\u200d👧 👍🏽", ["👩\u200d👩\u200d👧", "👍🏽"]),
        ("cafe\u0301 1\ufe0f\u20e3", ["cafe\u0301", "1\ufe0f\u20e3"]),
    ],
)
@pytest.mark.parametrize("make", ["byte_level", "byte_level_with_spaces"])
def test_marks_belong_to_the_word_that_they_are_written_on(make: str, text: str, words: list[str]) -> None:
    from lig_core.models.tokens import words_by_text

    found = TOKENIZERS[make]().encode(text, add_special_tokens=False)
    numbers = words_by_text(text, found.offsets, found.word_ids)
    spans = [[span for span, word in zip(found.offsets, numbers, strict=True) if word == k] for k in set(numbers)]
    assert [text[span[0][0] : span[-1][1]].strip() for span in spans] == words


def of_every_size() -> list[str]:
    return [" ".join(["a"] * words) + end for words in range(POSITIONS // 3, POSITIONS) for end in ("", "ж", "ж ж")]


def test_a_text_of_as_many_tokens_as_positions_is_taken(kind: Kind) -> None:
    def asked_of(text: str) -> ExplainRequest:
        return parse_request({"text": text, "granularity": "layer", "num_steps": 1, "dtype": "float64"})

    sizes = {text: TokenCounter().count(asked_of(text), kind.card).number for text in of_every_size()}
    fits = next(text for text, count in sizes.items() if count == POSITIONS)
    assert kind.refusal_at_post(asked_of(fits)) is None
    assert len(run(asked_of(fits), kind.model)["tokens"]) == POSITIONS
    longer = next(text for text, count in sizes.items() if count == POSITIONS + 1)
    refused = kind.refusal_at_post(asked_of(longer))
    assert refused == kind.refusal_of_the_worker(asked_of(longer))
    assert refused is not None and refused["code"] == "text_too_long"


def test_a_token_without_an_embedding_is_named_with_its_place(kind: Kind) -> None:
    request = parse_request({"text": f"the fox {UNEMBEDDED}", "granularity": "layer", "num_steps": 1})
    said = kind.refusal_at_post(request)
    assert said is not None
    assert said["code"] == "invalid_request"
    assert re.search(rf"token \d+ \('▁?{UNEMBEDDED}', characters [78] to {8 + len(UNEMBEDDED)}\)", said["detail"])
    assert [fault["pointer"] for fault in said["errors"]] == ["/text"]
    assert kind.refusal_of_the_worker(request) == said
