"""Labels that people can read, and words made of tokens with nothing lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lig_core.contract import parse_request
from lig_core.loading.loaded import LoadedModel
from lig_core.method import run, stream
from lig_core.models.tokens import is_byte_level, label, word_marker, words_by_marker, words_by_text
from lig_core.result.arrays import STATUSES
from lig_core.result.plain.text import plain
from lig_core.result.read import from_document
from lig_core.result.render import document
from lig_core.result.words import Words
from tests.support.closeness import assert_close
from tests.support.made_results import made_head, made_layer

FLOAT32 = 1e-4  # room for its rounding, whatever the processor
TEXT = "The antidisestablishmentarian sat."
REQUEST = {"text": TEXT, "model": "minilm", "layers": [1], "rtol": 1e-2, "labels": True}


@pytest.mark.parametrize(
    ("token", "expected"),
    [("##ment", "ment"), ("##", "##"), ("▁cat", "cat"), ("▁", "␣"), ("cat", "cat"), ("<0xE2>", "<0xE2>")],
)
def test_a_label_has_no_marker(token: str, expected: str) -> None:
    assert label(token) == expected


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(["the cat sat on the mat"] * 3, trainer)
    return tokenizer


@pytest.mark.parametrize("text", ["the cat sat", "naïve café", "日本 語", "a\n b\t", "ÿ¡®"])
def test_byte_level_labels_are_the_text(text: str) -> None:
    tokenizer = byte_level()
    assert is_byte_level(tokenizer.get_vocab())
    found = tokenizer.encode(text)
    for token, (start, end) in zip(found.tokens, found.offsets, strict=True):
        shown = label(token, byte_level=True)
        whole = tokenizer.encode(text[start:end]).tokens == [token]
        if whole and text[start:end].strip():  # not one byte of several, nor white space
            assert shown == text[start:end].strip()
    assert label("Ċ", byte_level=True) == "⏎"
    assert label("Ġ", byte_level=True) == "␣"
    assert label("<s>", byte_level=True, special=True) == "<s>"


@pytest.mark.parametrize(
    ("offsets", "ids", "expected"),
    [
        ([(0, 0), (0, 3), (4, 8), (8, 12), (12, 13), (0, 0)], [None, 0, 1, 1, 2, None], [0, 1, 2, 2, 3, 4]),
        ([(0, 3), (3, 8), (8, 12), (12, 13)], [0, 0, 0, 0], [0, 1, 1, 1]),  # one "word" for the tokenizer: white space
        ([(0, 3), (4, 8), (8, 12), (12, 13)], [0, 0, 0, 0], [0, 1, 1, 1]),
    ],
)
def test_words_are_the_tokenizers_cut_at_white_space(offsets: Any, ids: Any, expected: list[int]) -> None:
    assert words_by_text("the sitting.", offsets, ids) == expected


def test_without_spans_words_follow_the_markers() -> None:
    assert words_by_marker(["[CLS]", "sit", "##ting", ".", "[SEP]"], {"[CLS]", "[SEP]"}, "##") == [0, 1, 1, 2, 3]
    assert words_by_marker(["<s>", "▁sit", "ting", "▁cat", "</s>"], {"<s>", "</s>"}, "▁") == [0, 1, 1, 2, 3]
    assert words_by_marker(["sit", "ting", "Ġcat"], set(), "Ġ") == [0, 0, 1]
    assert words_by_marker(["sit", "ting", "##"], set(), None) == [0, 1, 2]


def test_the_marker_of_words_is_the_vocabulary_s_commonest_and_no_rare_character(minilm: LoadedModel) -> None:
    assert minilm.word_marker == "##"
    assert word_marker(["▁cat", "▁sat", "##", "s"]) == "▁"
    assert word_marker(byte_level().get_vocab()) == "Ġ"
    assert word_marker(["cat", "sat"]) is None
    assert word_marker([*map(str, range(500)), "##", "Ġ"]) is None


@pytest.fixture(scope="module")
def by_token(minilm: LoadedModel) -> dict[str, Any]:
    return plain(run(parse_request(REQUEST), minilm))


def test_spans_point_into_the_text(by_token: dict[str, Any]) -> None:
    assert by_token["tokens"][2:5] == ["anti", "##dis", "##est"]
    assert by_token["token_labels"][2:5] == ["anti", "dis", "est"]
    for shown, (start, end) in zip(by_token["token_labels"], by_token["offsets"], strict=True):
        assert end == 0 or TEXT[start:end].lower() == shown
    assert by_token["words"][:5] == [0, 1, 2, 2, 2]


def merge_words(result: dict[str, Any]) -> dict[str, Any]:
    """A result document by words; the document itself is left as it is."""
    head, layers = from_document(result)
    words = Words.of(head)
    return result if words is None else document(words.head(head), map(words.layer, layers))


def test_every_sum_survives_the_merge(by_token: dict[str, Any]) -> None:
    merged = merge_words(by_token)
    assert merged["tokens"] == ["[CLS]", "The", "antidisestablishmentarian", "sat", ".", "[SEP]"]
    old, new = by_token["layers"]["1"], merged["layers"]["1"]
    long = [k for k, word in enumerate(by_token["words"]) if word == 2]
    for before, after in [(old["z2z"], new["z2z"])] + [
        (old["composed"][kind], new["composed"][kind]) for kind in ("product", "conserving")
    ]:
        tokens, words = np.array(before["matrix"]), np.array(after["matrix"])
        assert words.shape == (6, 6)
        assert_close(words.sum(), tokens.sum(), FLOAT32, scale=tokens)
        assert_close(words[3, 2], tokens[long[-1] + 1, long].sum(), FLOAT32, scale=tokens)  # "sat" to the long word
        assert_close(words[2, 2], tokens[np.ix_(long, long)].sum(), FLOAT32, scale=tokens)
    certificate = new["z2z"]["certificate"]
    assert_close(sum(certificate["total"]), sum(old["z2z"]["certificate"]["total"]), FLOAT32)
    columns = np.array(new["z2z"]["matrix"]).sum(0)
    assert_close(columns, certificate["total"], 1e-2)
    assert max(certificate["completeness_error"]) <= 1e-2
    listed = [cell["value"] for cell in new["z2z"]["token_to_token"][2]["contributions"]]
    assert np.float32(listed).tolist() == np.float32([row[2] for row in new["z2z"]["matrix"]]).tolist()


def test_heads_and_dimensions_of_a_word_are_its_tokens_summed(by_token: dict[str, Any]) -> None:
    merged = merge_words(by_token)["layers"]["1"]["targets"]["2"]
    tokens = [by_token["layers"]["1"]["targets"][str(k)] for k, word in enumerate(by_token["words"]) if word == 2]
    for head, found in merged["z2u"]["heads"].items():
        parts = [part["z2u"]["heads"][head] for part in tokens]
        assert len(found["contributions"]) == 6
        values = [part["contributions"] for part in parts]
        assert_close(found["total"], sum(part["total"] for part in parts), FLOAT32)
        assert_close(sum(found["contributions"]), np.sum(values), FLOAT32, scale=values)
    values = np.array([part["u2z"]["contributions"] for part in tokens])
    assert_close(merged["u2z"]["contributions"], values.sum(0), FLOAT32, scale=values)
    assert_close(merged["u2z"]["l2_total"], sum(part["u2z"]["l2_total"] for part in tokens), FLOAT32)


def test_a_word_is_a_target_when_all_its_tokens_are(minilm: LoadedModel) -> None:
    request = {**REQUEST, "granularity": ["layer", "mlp"], "target_tokens": [1, 2]}
    merged = merge_words(plain(run(parse_request(request), minilm)))["layers"]["1"]
    assert list(merged["targets"]) == ["1"]
    known = ~np.isnan(np.array(merged["z2z"]["matrix"], dtype=float)).any(0)
    assert known.tolist() == [False, True, False, False, False, False]
    assert [total is not None for total in merged["z2z"]["certificate"]["total"]] == known.tolist()


def test_merging_is_asked_for_in_the_request(minilm: LoadedModel, by_token: dict[str, Any]) -> None:
    found = plain(run(parse_request({**REQUEST, "merge_subwords": True}), minilm))
    by_hand = merge_words(by_token)["layers"]["1"]["z2z"]
    assert_close(found["layers"]["1"]["z2z"]["matrix"], by_hand["matrix"], FLOAT32)
    assert merge_words(found) == found


def test_a_layer_is_merged_on_its_own(minilm: LoadedModel, by_token: dict[str, Any]) -> None:
    head, (layer,) = stream(parse_request({**REQUEST, "merge_subwords": True}), minilm)
    assert head["tokens"] == merge_words(by_token)["tokens"]
    (expected,) = from_document(merge_words(by_token))[1]
    assert set(layer.arrays) == set(expected.arrays)
    scales = {f"{name}.completeness_error": 1 for name in ("z2z", "att", "mlp")}
    scales["mlp.difference"] = layer["mlp.total"]
    for name, array in layer.arrays.items():
        assert array.dtype == expected[name].dtype
        assert_close(array, expected[name], FLOAT32, scale=scales.get(name))


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("ok", "ok"), "ok"),
        (("zero_path", "zero_path"), "zero_path"),
        (("zero_path", "ok"), "ok"),
        (("ok", "budget"), "budget"),
        (("zero_path", "noise_limited"), "noise_limited"),
        (("budget", "noise_limited"), "budget"),
        (("fixed", "fixed"), "fixed"),
    ],
)
def test_a_word_has_the_status_that_matters(parts: tuple[str, str], expected: str) -> None:
    layer, words = made_layer(), Words.of(made_head())
    assert words is not None
    for name in ("z2z", "att", "mlp"):  # of the two tokens of "cats"
        layer[f"{name}.status"][..., 1:3] = [STATUSES.index(part) for part in parts]
        found = words.layer(layer)[f"{name}.status"][..., 1]
        assert {STATUSES[code] for code in found.flat} == {expected}


def test_no_whole_word_asked_for_leaves_no_column() -> None:
    words = Words.of(made_head())
    assert words is not None
    merged = words.layer(made_layer(targets=(2,)))
    assert merged.targets == []
    assert merged["z2z"].shape == (4, 0)
    assert merged["att"].shape == (3, 4, 0)
