"""Corpora: sentences, one after the other, with words and dependency relations where the file has them.

    .txt                a sentence a line
    .jsonl              an object a line: `text`, or `words` with `heads` and `relations` if they are known
    .conllu             CoNLL-U; multiword tokens and empty nodes are left out, subtypes of relations kept
    .dep, .sd           Stanford dependencies: a line `word head-relation` a word, a blank line after each sentence

Where a corpus gives words, the text is these joined by spaces. Heads are 1-based, 0 is the root.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lig_core.contract import is_blank
from lig_core.errors import InvalidRequest

FORMATS = {".txt": "lines", ".jsonl": "jsonl", ".conllu": "conllu", ".dep": "stanford", ".sd": "stanford"}


@dataclass(frozen=True)
class Sentence:
    """A sentence by its number in the corpus, from 0. Without words of its own, `words` is None.

    heads are 1-based places in `words`, 0 for the root.
    """

    number: int
    text: str
    words: tuple[str, ...] | None = None
    heads: tuple[int, ...] | None = None
    relations: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Corpus:
    """The sentences of a file, the form they were read from, and SHA-256 of its bytes."""

    name: str
    format: str
    digest: str
    sentences: Sequence[Sentence]


def read_corpus(path: Path, form: str | None = None) -> Corpus:
    """Read a corpus; `form` (lines, jsonl, conllu, stanford) where the name's ending does not tell.

    Raises InvalidRequest with the line at fault.
    """
    form = form or FORMATS.get(path.suffix)
    readers = {"lines": _lines, "jsonl": _jsonl, "conllu": _conllu, "stanford": _stanford}
    if form not in readers:
        raise InvalidRequest(f"'{path.name}' tells no format; name one of {', '.join(readers)} with --format")
    data = path.read_bytes()
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"'{path.name}' is not UTF-8: {error}") from None
    sentences: list[Sentence] = []
    for parts in readers[form](lines, path.name):
        sentence = Sentence(len(sentences), **parts)
        if is_blank(sentence.text):
            raise InvalidRequest(f"'{path.name}': sentence {sentence.number} is blank")
        if fault := tree_fault(sentence):
            raise InvalidRequest(f"'{path.name}': sentence {sentence.number} {fault}")
        sentences.append(sentence)
    if not sentences:
        raise InvalidRequest(f"'{path.name}' has no sentences")
    return Corpus(path.name, form, hashlib.sha256(data).hexdigest(), sentences)


def of_words(words: Sequence[str], heads: Sequence[int] | None, relations: Sequence[str] | None) -> dict[str, Any]:
    """The fields of a sentence of words."""
    return {
        "text": " ".join(words),
        "words": tuple(words),
        "heads": None if heads is None else tuple(heads),
        "relations": None if relations is None else tuple(relations),
    }


def _lines(lines: list[str], name: str) -> Iterator[dict[str, Any]]:
    yield from ({"text": line.strip()} for line in lines if line.strip())


def _jsonl(lines: list[str], name: str) -> Iterator[dict[str, Any]]:
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = json.loads(line)
            text, words = one.get("text"), one.get("words")
            heads, relations = one.get("heads"), one.get("relations")
        except (ValueError, AttributeError):
            raise _fault(name, place, "is no JSON object") from None
        if words is not None:
            if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
                raise _fault(name, place, "`words` is a list of strings")
            if (heads is None) != (relations is None):
                raise _fault(name, place, "has one of `heads` and `relations`; give both or neither")
            yield of_words(words, heads, relations)
        elif isinstance(text, str):
            yield {"text": text}
        else:
            raise _fault(name, place, "has neither `text` nor `words`")


def _conllu(lines: list[str], name: str) -> Iterator[dict[str, Any]]:
    for block in _blocks(lines):
        words: list[str] = []
        heads: list[int] = []
        relations: list[str] = []
        for place, line in block:
            if line.startswith("#"):
                continue
            fields = line.split("\t")
            if len(fields) != 10:
                raise _fault(name, place, f"has {len(fields)} fields separated by tabs; CoNLL-U has 10")
            if "-" in fields[0] or "." in fields[0]:
                continue
            if fields[0] != str(len(words) + 1) or not fields[6].isdecimal():
                raise _fault(name, place, "is out of order, or its head is no number")
            words.append(fields[1].replace(" ", "\u00a0"))
            heads.append(int(fields[6]))
            relations.append(fields[7])
        if words:
            yield of_words(words, heads, relations)


def _stanford(lines: list[str], name: str) -> Iterator[dict[str, Any]]:
    for block in _blocks(lines):
        words, heads, relations = [], [], []
        for place, line in block:
            try:
                word, relation = line.split()
                head, relation = relation.split("-", 1)
                heads.append(int(head))
            except ValueError:
                raise _fault(name, place, "is not `word head-relation`, such as `cat 3-nsubj`") from None
            words.append(word)
            relations.append(relation)
        yield of_words(words, heads, relations)


def _blocks(lines: list[str]) -> Iterator[list[tuple[int, str]]]:
    """Lines with their numbers, by the blank lines between them."""
    for blank, block in groupby(enumerate(lines, 1), key=lambda one: not one[1].strip()):
        if not blank:
            yield list(block)


def tree_fault(sentence: Sentence) -> str | None:
    """What is wrong with the heads and relations of a sentence, as what it needs; None where nothing is."""
    heads, relations, words = sentence.heads, sentence.relations, sentence.words or ()
    if heads is None or relations is None:
        return None
    fine = len(heads) == len(relations) == len(words) and all(
        isinstance(head, int) and 0 <= head <= len(words) and head != k for k, head in enumerate(heads, 1)
    )
    return None if fine else f"needs a relation and a head from 0 to {len(words)} for each word"


def _fault(name: str, line: int, what: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}', line {line}: {what}")
