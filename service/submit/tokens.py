"""The tokens of a request, and whether they are the model's, before any model is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from lig_core.contract import ExplainRequest
from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard, local_file
from lig_core.models.tokenizer_files import require_tokenizer
from lig_core.models.tokens import (
    Span,
    after_space,
    require_byte_level,
    require_known,
    require_word_marker,
    spans_in,
    whole_words,
    word_marker,
    words_by_marker,
    words_by_text,
)

TOKENIZERS_KEPT = 8
BYTES_PER_TOKEN = 3.5
"""Of UTF-8, where no tokenizer can be asked: between English in GPT-2's vocabulary (4.5) and code (2.5)."""
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class TokenCount:
    """Tokens of a text, special ones included. `exact` where the model's own tokenizer counted, or they were sent.

    ids, names, spans: number, name and characters of each token of a text, as the model's tokenizer reads it;
    words: the word of each token, where these are merged.
    """

    number: int
    exact: bool
    ids: Sequence[int] = field(default=(), compare=False)
    names: Sequence[str] = field(default=(), compare=False)
    words: Sequence[int] | None = field(default=None, compare=False)
    spans: Sequence[Span] | None = field(default=None, compare=False)

    def targets(self, request: ExplainRequest) -> int:
        """The number of tokens whose columns the request takes: by words, all of each word that one is asked of."""
        if request.target_tokens is None:
            return self.number
        targets = [target for target in request.target_tokens if target < self.number]
        return len(targets if self.words is None else whole_words(targets, self.words))


class TokenCounter:
    """Counts with the model's `tokenizer.json` where that is at hand, and guesses from the text's bytes elsewhere."""

    def __init__(self) -> None:
        self._open = lru_cache(TOKENIZERS_KEPT)(_open)

    def count(self, request: ExplainRequest, card: ModelCard) -> TokenCount:
        """Tokens of the request in this model.

        Raises InvalidRequest for tokens that it is known not to have, and UnsupportedModel where it has no tokenizer,
        or one that cannot be read.
        """
        file, subject = local_file(card, "tokenizer.json"), request.subject
        if file is None:
            require_tokenizer(card)
        tokenizer = None if file is None else self._opened(file, card)
        if isinstance(subject, str):
            return guess(subject) if tokenizer is None else _count_text(subject, tokenizer, card, request)
        return TokenCount(len(subject), True) if tokenizer is None else _count_tokens(subject, tokenizer, card, request)

    def _opened(self, file: Path, card: ModelCard) -> Tokenizer:
        try:
            return self._open(file)
        except Exception as error:  # the library has no class of its own
            raise UnsupportedModel(
                f"the tokenizer of '{card.name}' cannot be read ({error}); save it again: tokenizer.save_pretrained()"
            ) from error


def guess(text: str) -> TokenCount:
    """Tokens that the text is likely to have in any model."""
    return TokenCount(math.ceil(len(text.encode()) / BYTES_PER_TOKEN) + SPECIAL_TOKENS, exact=False)


def _count_text(text: str, tokenizer: Tokenizer, card: ModelCard, request: ExplainRequest) -> TokenCount:
    if request.prefix_space:
        require_byte_level(tokenizer.get_vocab(), card.name)
    given = after_space(text) if request.prefix_space else text
    read = tokenizer.encode(given, add_special_tokens=request.special_tokens)
    spans = spans_in(text, given, read.offsets)
    words = words_by_text(text, spans, read.word_ids) if request.merge_subwords else None
    names = [tokenizer.id_to_token(number) or "" for number in read.ids]  # read.tokens differs between versions
    return TokenCount(len(read.ids), True, read.ids, names, words, spans)


def _count_tokens(names: Sequence[str], tokenizer: Tokenizer, card: ModelCard, request: ExplainRequest) -> TokenCount:
    rows = math.inf if card.vocabulary is None else card.vocabulary
    ids = [tokenizer.token_to_id(name) for name in names]
    require_known(names, [number if number is not None and number < rows else None for number in ids], card.name)
    if not request.merge_subwords:
        return TokenCount(len(names), True)
    marker = word_marker(tokenizer.get_vocab())
    require_word_marker(marker, card.name)
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    return TokenCount(len(names), True, words=words_by_marker(names, special, marker))


def _open(file: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(file))
    # Workers explain the whole text or refuse it; what the file says of cutting and padding is for other uses.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
