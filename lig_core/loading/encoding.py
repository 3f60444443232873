"""Turning texts, or tokens as they are, into what a model is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from lig_core.engines.chunking import out_of_memory
from lig_core.errors import UnsupportedModel
from lig_core.loading.inspection import first_line
from lig_core.models import tokens
from lig_core.models.catalog import ModelCard
from lig_core.models.tokenizer_files import require_packages, require_tokenizer


def load_tokenizer(card: ModelCard, **where: Any) -> PreTrainedTokenizerBase:
    """A model's own tokenizer, from the folder of its files.

    Raises UnsupportedModel where it lacks one, or packages to read it, or it cannot be read.
    """
    require_tokenizer(card)
    require_packages(card)
    try:
        tokenizer = AutoTokenizer.from_pretrained(card.source, **where)
    except Exception as error:  # each class of tokenizers, and each library below them, has its own
        if out_of_memory(error):
            raise
        raise UnsupportedModel(
            f"the tokenizer of '{card.name}' cannot be read ({first_line(error)}); "
            "save it again: tokenizer.save_pretrained()"
        ) from error
    # Where there is no vocabulary, transformers makes one up: special tokens, and one more at most.
    if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) <= 1:
        raise UnsupportedModel(
            f"model '{card.name}' comes without the vocabulary of its tokenizer; save it there, too: "
            "tokenizer.save_pretrained()"
        )
    return tokenizer


@dataclass(frozen=True)
class TextTokens:
    """A text's tokens: strings, readable labels, the word of each, and character spans where these are known."""

    text: str
    tokens: tuple[str, ...]
    labels: list[str]
    words: list[int]
    offsets: list[tuple[int, int]] | None


@dataclass(frozen=True)
class Encoded:
    """Texts as the model sees them: the tokens of each, and the tensors that a forward pass takes."""

    texts: list[TextTokens]
    inputs: Mapping[str, Tensor]

    @property
    def tokens(self) -> list[tuple[str, ...]]:
        """Token strings of each text."""
        return [text.tokens for text in self.texts]


@dataclass(frozen=True)
class Encoder:
    """A model's tokenizer, with what the model takes: at most `limit` tokens, of ids below `rows` (None: any)."""

    tokenizer: PreTrainedTokenizerBase
    model: str
    limit: int | None
    rows: int | None

    def encode(
        self,
        texts: Sequence[str | Sequence[str]],
        device: torch.device,
        *,
        special_tokens: bool = True,
        prefix_space: bool = False,
    ) -> Encoded:
        """Tokens and input tensors of some texts, right-padded; in place of a text its tokens may stand.

        special_tokens: whether the tokenizer adds its own to texts; prefix_space: whether they are read as after one.
        Raises TextTooLong rather than cut one, and InvalidRequest for a token that the model does not have, and for
        `prefix_space` of a vocabulary whose tokens do not begin with their spaces.
        """
        if prefix_space:
            tokens.require_byte_level(self.tokenizer.get_vocab(), self.model)
        rows = [
            self._of_text(text, special_tokens, prefix_space) if isinstance(text, str) else self._of_tokens(text)
            for text in texts
        ]
        return self.joined([self._encoded(text, row, device) for text, row in zip(texts, rows, strict=True)])

    def joined(self, encoded: Sequence[Encoded]) -> Encoded:
        """What `encode` gives of texts that are encoded, each by itself, already."""
        if len(encoded) == 1:
            return encoded[0]
        each = [one.inputs for one in encoded]
        if "attention_mask" not in each[0]:
            each = [{**inputs, "attention_mask": torch.ones_like(inputs["input_ids"])} for inputs in each]
        padding = {"input_ids": self.tokenizer.pad_token_id or 0}
        inputs = {name: pad_sequence([own[name][0] for own in each], True, padding.get(name, 0)) for name in each[0]}
        return Encoded([text for one in encoded for text in one.texts], inputs)

    def _encoded(self, text: str | Sequence[str], row: Any, device: torch.device) -> Encoded:
        inputs = {name: torch.tensor([values]).to(device) for name, values in row.items() if name != "offset_mapping"}
        return Encoded([self._describe(text, row)], inputs)

    @cached_property
    def word_marker(self) -> str | None:
        """The mark by which its tokens tell where words begin; None where they do not."""
        return tokens.word_marker(self.tokenizer.get_vocab())

    @cached_property
    def _byte_level(self) -> bool:
        return tokens.is_byte_level(self.tokenizer.get_vocab())

    def _of_text(self, text: str, special_tokens: bool, prefix_space: bool) -> Any:
        read = tokens.after_space(text) if prefix_space else text
        encoding = self.tokenizer(
            read,
            add_special_tokens=special_tokens,
            truncation=False,
            verbose=False,
            return_offsets_mapping=self.tokenizer.is_fast,
        )
        if self.tokenizer.is_fast:
            encoding["offset_mapping"] = tokens.spans_in(text, read, encoding["offset_mapping"])
        ids = encoding["input_ids"]
        tokens.require_room(len(ids), self.limit, self.model, pointer="/text")
        names, spans = self.tokenizer.convert_ids_to_tokens(ids), encoding.get("offset_mapping")
        tokens.require_embedded(names, ids, self.rows, self.model, spans=spans)
        return encoding

    def _of_tokens(self, names: Sequence[str]) -> dict[str, list[int]]:
        """The same of tokens, nothing added."""
        ids = [self._id(name) for name in names]
        tokens.require_known(names, ids, self.model)
        tokens.require_room(len(names), self.limit, self.model, pointer="/tokens")
        encoding = self.tokenizer("a", verbose=False)  # the names of its inputs
        # Some tokenizers give special tokens a type of their own (XLNet, Funnel).
        types = dict(zip(encoding["input_ids"], encoding.get("token_type_ids", ()), strict=False))
        values = {
            "input_ids": ids,
            "token_type_ids": [types.get(number, 0) for number in ids],
            "attention_mask": [1] * len(ids),
        }
        return {name: values[name] for name in encoding}

    def _id(self, name: str) -> int | None:
        """The token's id; None where the tokenizer or the model has none, and would take another in its place."""
        number = self.tokenizer.convert_tokens_to_ids(name)
        known = number is not None and self.tokenizer.convert_ids_to_tokens(number) == name
        return number if known and (self.rows is None or number < self.rows) else None

    def _describe(self, text: str | Sequence[str], encoding: Any) -> TextTokens:
        names = tuple(self.tokenizer.convert_ids_to_tokens(encoding["input_ids"]))
        special = set(self.tokenizer.all_special_tokens)
        labels = [tokens.label(name, byte_level=self._byte_level, special=name in special) for name in names]
        if isinstance(text, str) and self.tokenizer.is_fast:
            offsets = [(int(start), int(end)) for start, end in encoding["offset_mapping"]]
            return TextTokens(text, names, labels, tokens.words_by_text(text, offsets, encoding.word_ids()), offsets)
        read = text if isinstance(text, str) else self.tokenizer.decode(encoding["input_ids"])
        return TextTokens(read, names, labels, tokens.words_by_marker(names, special, self.word_marker), None)
