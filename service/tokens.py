"""How many tokens a request has, and whether they are the model's, before any model is loaded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer

from lig_core.catalog import ModelCard, local_file
from lig_core.contract import ExplainRequest
from lig_core.errors import UnsupportedModel
from lig_core.tokens import require_known, require_word_marker, word_marker

TOKENIZERS_KEPT = 8
BYTES_PER_TOKEN = 3.5
"""Of UTF-8, where no tokenizer can be asked: between English in GPT-2's vocabulary (4.5) and code (2.5)."""
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class TokenCount:
    """Tokens of a text, special ones included. `exact` where the model's own tokenizer counted, or they were sent."""

    number: int
    exact: bool


class TokenCounter:
    """Counts with the model's `tokenizer.json` where that is at hand, and guesses from the text's bytes elsewhere."""

    def __init__(self) -> None:
        self._open = lru_cache(TOKENIZERS_KEPT)(_open)

    def count(self, request: ExplainRequest, card: ModelCard) -> TokenCount:
        """Tokens of the request in this model; raises InvalidRequest for tokens that it is known not to have.

        Raises UnsupportedModel where its tokenizer is damaged.
        """
        file, subject = local_file(card, "tokenizer.json"), request.subject
        if isinstance(subject, str):
            return guess(subject) if file is None else TokenCount(len(self._open(file).encode(subject).ids), exact=True)
        if file is not None:
            tokenizer = self._open(file)
            require_known(subject, [tokenizer.token_to_id(token) for token in subject], card.name)
            if request.merge_subwords:
                require_word_marker(word_marker(tokenizer.get_vocab()), card.name)
        return TokenCount(len(subject), exact=True)


def guess(text: str) -> TokenCount:
    """Tokens that the text is likely to have in any model."""
    return TokenCount(math.ceil(len(text.encode()) / BYTES_PER_TOKEN) + SPECIAL_TOKENS, exact=False)


def _open(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises nothing narrower
        raise UnsupportedModel(
            f"the tokenizer of the model could not be read ({file.name}: {error}); save it there, too: "
            "tokenizer.save_pretrained()"
        ) from error
    # Workers explain the whole text or refuse it; what the file says of cutting and padding is for other uses.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
