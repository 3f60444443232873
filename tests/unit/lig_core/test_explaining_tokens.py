"""Tokens in place of a text: the model is given exactly these, so a result's tokens give its numbers again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from lig_core import explain
from lig_core.contract import parse_request
from lig_core.errors import InvalidRequest, TextTooLong
from lig_core.loading.loaded import LoadedModel
from lig_core.method import run
from lig_core.result.plain.text import plain
from tests.models.tiny_models import POSITIONS, VOCABULARY, loaded
from tests.models.together import explain_together
from tests.support.closeness import assert_close_maps

FLOAT32 = 1e-4  # room for its rounding, whatever the processor
TEXT = "the antidisestablishmentarian cats sat"


def explained(model: LoadedModel, **fields: Any) -> dict[str, Any]:
    return plain(run(parse_request({"model": "any", "layers": [1], "num_steps": 3, **fields}), model))


def with_subwords(marker: str) -> LoadedModel:
    """A tiny BERT whose tokenizer splits words as SentencePiece (▁) or GPT-2 (Ġ) does, and types </s> as 1."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    metaspace = marker == "▁"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace() if metaspace else pre_tokenizers.ByteLevel()
    tokenizer.decoder = decoders.Metaspace() if metaspace else decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<unk>", "<s>", "</s>"])
    tokenizer.train_from_iterator(["the cat sat on the mat", "many cats stated an antidote", "blister farm"], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )
    return replace(loaded("bert"), tokenizer=fast)


@pytest.fixture(params=["##", "▁", "Ġ"])
def model(request: pytest.FixtureRequest) -> LoadedModel:
    if request.param == "##":
        found: LoadedModel = request.getfixturevalue("minilm")
        return found
    return with_subwords(request.param)


def test_the_tokens_of_a_result_give_its_numbers_again(model: LoadedModel) -> None:
    of_text = explained(model, text=TEXT, labels=True)
    of_tokens = explained(model, tokens=of_text["tokens"], labels=True)
    assert len(of_text["tokens"]) > len(TEXT.split()) + 3
    assert_close_maps(of_tokens, of_text, FLOAT32)
    apart = ("text", "offsets", "receipt", "layers")
    assert {name: said for name, said in of_tokens.items() if name not in apart} == {
        name: said for name, said in of_text.items() if name not in apart
    }
    assert of_tokens["offsets"] is None
    assert TEXT in of_tokens["text"]
    assert of_tokens["text"].startswith(of_text["tokens"][0])  # special tokens included
    assert of_tokens["receipt"]["request"] != of_text["receipt"]["request"]


def test_their_words_are_merged_as_those_of_a_text(model: LoadedModel) -> None:
    tokens = explained(model, text=TEXT)["tokens"]
    of_text, of_tokens = (
        explained(model, merge_subwords=True, **asked) for asked in ({"text": TEXT}, {"tokens": tokens})
    )
    assert of_tokens["tokens"] == of_text["tokens"]
    assert_close_maps(of_tokens, of_text, FLOAT32)


def test_nothing_is_added_to_them(minilm: LoadedModel) -> None:
    for tokens in (["cat"], ["[SEP]", "cat", "[PAD]", "##s", "[MASK]"]):
        found = explained(minilm, tokens=tokens, granularity="layer")
        assert found["tokens"] == tokens
        assert found["layers"]["1"]["z2z"]["shape"] == [len(tokens)] * 2


def test_tokens_and_texts_go_together_in_one_batch(minilm: LoadedModel) -> None:
    asked = [{"tokens": ["[CLS]", "cat", "[SEP]"]}, {"text": TEXT}]
    requests = [parse_request({"granularity": "layer", "layers": [0], "num_steps": 2, **one}) for one in asked]
    for (tokens, _), request in zip(explain_together(requests, minilm), requests, strict=True):
        assert list(tokens) == run(request, minilm)["tokens"]


def test_a_token_that_the_model_does_not_have_is_named_with_its_place(minilm: LoadedModel) -> None:
    with pytest.raises(
        InvalidRequest, match=r"token 1 \('Cat'\), token 3 \('zzzz'\): not in the vocabulary"
    ) as refused:
        explained(minilm, tokens=["[CLS]", "Cat", "[UNK]", "zzzz"])
    assert [fault.pointer for fault in refused.value.errors] == ["/tokens/1", "/tokens/3"]


def test_a_token_that_the_tokenizer_has_and_the_model_has_not_is_refused() -> None:
    model = with_subwords("▁")
    model.tokenizer.add_tokens(["new"])
    number = model.tokenizer.convert_tokens_to_ids("new")
    model.tokenizer.add_tokens([f"new{k}" for k in range(VOCABULARY - number)])
    with pytest.raises(InvalidRequest, match="token 0"):
        explained(model, tokens=[f"new{VOCABULARY - number - 1}"])


def test_too_many_tokens_are_refused(minilm: LoadedModel) -> None:
    with pytest.raises(TextTooLong, match="513 tokens, minilm takes at most 512"):
        explained(minilm, tokens=["cat"] * 513)


def test_words_are_refused_where_tokens_do_not_tell_them() -> None:
    with pytest.raises(InvalidRequest, match="leave merge_subwords out"):
        explained(loaded("bert"), tokens=["a", "cat"], merge_subwords=True)
    assert explained(loaded("bert"), tokens=["a", "cat"])["words"] == [0, 1]


def test_explain_takes_them_by_name(minilm: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lig_core.method.kept_model", lambda *args, **how: minilm)
    told: dict[str, Any] = {"model": "minilm", "layers": [0], "granularity": "layer", "rtol": 0.1}
    by_text = explain("a cat", **told)
    assert_close_maps(explain(tokens=by_text["tokens"], **told), by_text, FLOAT32)
    with pytest.raises(InvalidRequest, match="both text and tokens"):
        explain("a cat", tokens=["a", "cat"], **told)
