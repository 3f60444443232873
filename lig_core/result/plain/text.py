"""Documents as JSON text: shortest digits that read back as the same numbers, NaN as null."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from lig_core.result.plain.later import Later

INDENT = b"  "
"""Of each level, as orjson indents."""
DEPTH = 5
"""The depth to which files are written in parts: of a result each matrix, column of labels, and map of a target."""


def to_json(document: Any, *, indented: bool = False) -> bytes:
    """The document as JSON; arrays are NumPy's, and what is made later is in memory while it is written."""
    return orjson.dumps(document, _made, orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if indented else 0))


def json_parts(document: Any, depth: int, level: int | None = None) -> Iterator[bytes]:
    """The same in parts that are the entries of its dicts and of its lists of dicts, down to a depth: what is in memory
    of it is one of them. Indented where `level` says how many levels the document itself is indented by.
    """
    while isinstance(document, Later):
        document = document.make()
    line, below = (b"", None) if level is None else (b"\n" + INDENT * level, level + 1)
    if depth and isinstance(document, dict) and document:
        held = dict.items(document)  # a document that makes what is read of it would keep that, too
        colon = b":" if level is None else b": "
        opening, closing, entries = b"{", b"}", ((to_json(name) + colon, value) for name, value in held)
    elif depth and isinstance(document, list) and document and isinstance(document[0], dict):
        opening, closing, entries = b"[", b"]", ((b"", value) for value in document)
    else:
        yield to_json(document, indented=level is not None).replace(b"\n", line or b"\n")
        return
    for start, value in entries:
        yield opening + line + (INDENT if line else b"") + start
        yield from json_parts(value, depth - 1, below)
        opening = b","
    yield line + closing


def json_file(document: Any) -> Iterator[bytes]:
    """The content of a file for people: indented, in parts."""
    yield from json_parts(document, DEPTH, 0)
    yield b"\n"


def plain(document: Any) -> Any:
    """The document in plain Python data, as a client reads it from JSON."""
    return orjson.loads(to_json(document))


def _made(value: Any) -> Any:
    """Of what orjson does not know how to write."""
    if isinstance(value, Later):
        return value.make()
    raise TypeError
