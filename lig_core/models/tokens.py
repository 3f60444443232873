"""Tokens for people: readable labels, and which tokens make up a word. Imports no torch."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from functools import cache

from lig_core.errors import FieldError, InvalidRequest, TextTooLong

Span = tuple[int, int]

METASPACE, BYTE_SPACE, CONTINUATION = "▁", "Ġ", "##"
MARKERS = (METASPACE, BYTE_SPACE, CONTINUATION)
RARE = 100
"""A character that fewer than one in so many tokens begin with marks nothing: it is like others."""
MOST_NAMED, NAMED_CHARACTERS = 5, 50
"""Of tokens that no vocabulary has: how many are named, and how much of each."""
INVISIBLE = {" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"}


def require_room(count: int, limit: int | None, model: str, *, pointer: str) -> None:
    """Refuse more tokens than a model takes (None: any), or none; raises TextTooLong, InvalidRequest with a pointer."""
    if count == 0:
        detail = f"the tokenizer of {model} makes no token of it; send another text, or let special tokens be added"
        raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])
    if limit is not None and count > limit:
        detail = (
            f"the text has {count} tokens, {model} takes at most {limit} (special tokens included); shorten or split it"
        )
        raise TextTooLong(detail, errors=[FieldError(pointer, detail)])


def require_targets(targets: Collection[int], count: int) -> None:
    """Refuse target tokens that a text of `count` does not have; raises InvalidRequest."""
    beyond = [target for target in targets if target >= count]
    if beyond:
        detail = f"token {', '.join(map(str, beyond))} asked, but the text has tokens 0 to {count - 1}"
        raise InvalidRequest(detail, errors=[FieldError("/target_tokens", detail)])


def require_byte_level(tokens: Collection[str], model: str) -> None:
    """Refuse `prefix_space` where no token begins with its space; raises InvalidRequest."""
    if not is_byte_level(tokens):
        detail = (
            f"the tokens of {model} do not begin with their spaces: a space before the text is none of them; leave "
            "prefix_space out"
        )
        raise InvalidRequest(detail, errors=[FieldError("/prefix_space", detail)])


def after_space(text: str) -> str:
    """The text as it is read with `prefix_space`: after a space, unless it begins with white space."""
    return text if text[:1].isspace() else f" {text}"


def spans_in(text: str, read: str, spans: Sequence[Span]) -> list[Span]:
    """Spans of what was read, as spans of the text, which is its end."""
    added = len(read) - len(text)
    return [(max(0, start - added), max(0, end - added)) for start, end in spans]


def is_byte_level(tokens: Collection[str]) -> bool:
    """True if a vocabulary writes bytes as printable characters, as GPT-2's does."""
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

    A token goes on with the word before it when both have a part of one character, and when the tokenizer says so and
    no white space stands between or in front. Many tokenizers know letters and not what is written over and under
    them, and so end a word at each combining mark. Here marks and format characters belong to what they follow, and
    letters and digits go on after them (as in Unicode's word boundaries, UAX #29, rules WB4 and WB5).
    Special tokens (no word of the tokenizer's) are words of their own.
    """
    words: list[int] = []
    begins_with_mark: dict[int, bool] = {}  # words of the tokenizer's
    for k, ((start, end), word) in enumerate(zip(offsets, word_ids, strict=True)):
        if word is not None:
            begins_with_mark.setdefault(word, any(map(_is_mark, text[start:end][:1])))
        if k == 0 or word is None or word_ids[k - 1] is None:
            same = False
        elif start < offsets[k - 1][1]:
            same = True
        elif any(map(str.isspace, text[offsets[k - 1][1] : start])) or text[start:end][:1].isspace():
            same = False
        else:
            same = word == word_ids[k - 1]
            if not same or (begins_with_mark[word] and any(map(_is_mark, text[max(0, start - 1) : start]))):
                same = _goes_on(text, start)
        words.append(words[-1] + (not same) if words else 0)
    return words


def whole_words(targets: Collection[int], words: Sequence[int]) -> list[int]:
    """Every token of the words that some tokens are part of, ascending; `words`: the word of each token."""
    wanted_words = {words[target] for target in targets}
    return [token for token, word in enumerate(words) if word in wanted_words]


def word_marker(vocabulary: Collection[str]) -> str | None:
    """A vocabulary's mark of words, on what begins one (▁, Ġ) or goes on with it (##); None where it has none."""
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
    _refuse(
        tokens,
        [k for k, number in enumerate(ids) if number is None],
        advice=f"not in the vocabulary of {model}; send tokens as `tokens` of a result lists them, or a text",
    )


def require_embedded(
    tokens: Sequence[str], ids: Sequence[int], rows: int | None, model: str, *, spans: Sequence[Span] | None
) -> None:
    """Refuse a text some of whose tokens the model has no embedding for; raises InvalidRequest that names them.

    rows: of the embedding, None: any; spans: the characters of each token, where they are known.
    """
    _refuse(
        tokens,
        [k for k, number in enumerate(ids) if rows is not None and number >= rows],
        advice=f"its tokenizer knows this token, but {model} embeds ids below {rows} alone; leave it out of the text, "
        "or resize the model's embeddings and train them",
        spans=spans,
        pointer="/text",
    )


def _refuse(
    tokens: Sequence[str],
    places: Sequence[int],
    *,
    advice: str,
    spans: Sequence[Span] | None = None,
    pointer: str | None = None,
) -> None:
    """Raise InvalidRequest for the tokens at some places, if any; the pointer is of each token unless one is given."""
    if not places:
        return
    named = []
    for k in places[:MOST_NAMED]:
        where = "" if spans is None else f", characters {spans[k][0]} to {spans[k][1]}"
        named.append(f"token {k} ({tokens[k][:NAMED_CHARACTERS]!r}{where})")
    more = f" and {len(places) - len(named)} more" if len(places) > len(named) else ""
    whole = f"{', '.join(named)}{more}: {advice}"
    each = [FieldError(f"/tokens/{k}", f"{name}: {advice}") for k, name in zip(places, named, strict=False)]
    raise InvalidRequest(whole, errors=each if pointer is None else [FieldError(pointer, whole)])


def require_word_marker(marker: str | None, model: str) -> None:
    """Refuse to merge tokens to words where nothing tells the words; raises InvalidRequest."""
    if marker is None:
        detail = f"the tokens of {model} do not tell where words begin; send the text, or leave merge_subwords out"
        raise InvalidRequest(detail, errors=[FieldError("/merge_subwords", detail)])


def _is_mark(character: str) -> bool:
    """True if it belongs to what it follows: a combining mark, or a character of format such as the joiners."""
    category = unicodedata.category(character)
    return category.startswith("M") or category == "Cf"


def _goes_on(text: str, at: int) -> bool:
    """True if the character at a place goes on with the word before it because of marks."""
    before = at - 1
    if before < 0 or at >= len(text) or text[before].isspace():
        return False
    if _is_mark(text[at]):
        return True
    while before > 0 and _is_mark(text[before]):
        before -= 1
    return before < at - 1 and text[before].isalnum() and text[at].isalnum()


@cache
def _bytes_of_characters() -> dict[str, int]:
    """The byte behind each character of a byte-level vocabulary: printable bytes are themselves, others 256 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + k): byte for k, byte in enumerate(others)}
