"""Tokens for people: readable labels, and which tokens make up a word. Imports no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache

from lig_core.errors import FieldError, InvalidRequest, TextTooLong

Span = tuple[int, int]

METASPACE, BYTE_SPACE, CONTINUATION = "▁", "Ġ", "##"
MARKERS = (METASPACE, BYTE_SPACE, CONTINUATION)
RARE = 100
"""What fewer than one in so many tokens begin with marks nothing: it is a character like others."""
MOST_NAMED, NAMED_CHARACTERS = 5, 50
"""Of tokens that no vocabulary has: how many are named, and how much of each."""
INVISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def require_room(count: int, limit: int | None, model: str, *, pointer: str) -> None:
    """Refuse more tokens than a model takes (None: any); raises TextTooLong that points at what was sent."""
    if limit is not None and count > limit:
        detail = (
            f"the text has {count} tokens, {model} takes at most {limit} (special tokens included); shorten or split it"
        )
        raise TextTooLong(detail, errors=[FieldError(pointer, detail)])


def require_targets(asked: Collection[int], count: int) -> None:
    """Refuse target tokens that a text of `count` does not have; raises InvalidRequest."""
    beyond = [target for target in asked if target >= count]
    if beyond:
        detail = f"token {', '.join(map(str, beyond))} asked, but the text has tokens 0 to {count - 1}"
        raise InvalidRequest(detail, errors=[FieldError("/target_tokens", detail)])


def is_byte_level(tokens: Collection[str]) -> bool:
    """Whether a vocabulary writes bytes as printable characters, as GPT-2's does."""
    return any(token.startswith(BYTE_SPACE) for token in tokens)


def label(token: str, *, byte_level: bool = False, special: bool = False) -> str:
    """A token as people write it: no marker, bytes decoded, lone white space made visible."""
    if special:
        return token
    if byte_level:
        bytes_of = _bytes_of_characters()
        if all(character in bytes_of for character in token):
            token = bytes(bytes_of[character] for character in token).decode("utf-8", errors="replace")
    plain = token.replace(METASPACE, " ")
    if plain.startswith(CONTINUATION) and len(plain) > len(CONTINUATION):
        plain = plain[len(CONTINUATION) :]
    shown = plain.strip()
    return shown or "".join(INVISIBLE.get(character, character) for character in plain) or token


def words_by_text(text: str, offsets: Sequence[Span], word_ids: Sequence[int | None]) -> list[int]:
    """The word that each token belongs to, counted from 0, from character spans and the tokenizer's own words.

    A token goes on with the word before it when the tokenizer says so and no white space stands between or in front.
    Special tokens (no word of the tokenizer's) are words of their own.
    """
    words: list[int] = []
    for k, ((start, end), word) in enumerate(zip(offsets, word_ids, strict=True)):
        same = k > 0 and word is not None and word == word_ids[k - 1]
        apart = not same or text[offsets[k - 1][1] : start] != "" or text[start:end][:1].isspace()
        words.append(words[-1] + apart if words else 0)
    return words


def word_marker(vocabulary: Collection[str]) -> str | None:
    """How a vocabulary tells words from their parts: what begins a word (▁, Ġ) or goes on with one (##); None: not."""
    counts = Counter(marker for token in vocabulary for marker in MARKERS if token.startswith(marker))
    for marker, count in counts.most_common(1):
        if count * RARE >= len(vocabulary):
            return marker
    return None


def words_by_marker(tokens: Sequence[str], special: Collection[str], marker: str | None) -> list[int]:
    """The word that each token belongs to, from its vocabulary's marker; with None each token is a word."""
    words: list[int] = []
    for k, token in enumerate(tokens):
        apart = k == 0 or token in special or tokens[k - 1] in special
        if marker is None or apart:
            goes_on = False
        elif marker == CONTINUATION:
            goes_on = token.startswith(CONTINUATION)
        else:
            goes_on = not token.startswith(marker)
        words.append(words[-1] + (not goes_on) if words else 0)
    return words


def require_known(tokens: Sequence[str], ids: Sequence[int | None], model: str) -> None:
    """Refuse tokens without an id; raises InvalidRequest that names the first of them and where they stand."""
    unknown = [k for k, number in enumerate(ids) if number is None]
    if not unknown:
        return
    named = [f"token {k} ({tokens[k][:NAMED_CHARACTERS]!r})" for k in unknown[:MOST_NAMED]]
    more = f" and {len(unknown) - len(named)} more" if len(unknown) > len(named) else ""
    advice = f"not in the vocabulary of {model}; send tokens as `tokens` of a result lists them, or a text"
    raise InvalidRequest(
        f"{', '.join(named)}{more}: {advice}",
        errors=[
            FieldError(f"/tokens/{k}", f"{name}: {advice}") for k, name in zip(unknown[:MOST_NAMED], named, strict=True)
        ],
    )


def require_word_marker(marker: str | None, model: str) -> None:
    """Refuse to merge tokens to words where nothing tells the words; raises InvalidRequest."""
    if marker is None:
        detail = f"the tokens of {model} do not tell where words begin; send the text, or leave merge_subwords out"
        raise InvalidRequest(detail, errors=[FieldError("/merge_subwords", detail)])


@cache
def _bytes_of_characters() -> dict[str, int]:
    """The byte behind each character of a byte-level vocabulary: printable bytes are themselves, others 256 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + k): byte for k, byte in enumerate(others)}
