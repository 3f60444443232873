"""Tokens for people: readable labels, and which tokens make up a word. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

Span = tuple[int, int]

METASPACE, BYTE_SPACE, CONTINUATION = "▁", "Ġ", "##"
INVISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


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


def words_by_marker(tokens: Sequence[str], special: Collection[str]) -> list[int]:
    """The word that each token belongs to, from the markers of a tokenizer that knows no character spans."""
    starts_marked = any(token.startswith((METASPACE, BYTE_SPACE)) for token in tokens)
    words: list[int] = []
    for k, token in enumerate(tokens):
        apart = k == 0 or token in special or tokens[k - 1] in special
        if starts_marked:
            goes_on = not apart and not token.startswith((METASPACE, BYTE_SPACE))
        else:
            goes_on = not apart and token.startswith(CONTINUATION)
        words.append(words[-1] + (not goes_on) if words else 0)
    return words


@cache
def _bytes_of_characters() -> dict[str, int]:
    """The byte behind each character of a byte-level vocabulary: printable bytes are themselves, others 256 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + k): byte for k, byte in enumerate(others)}
