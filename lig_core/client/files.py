"""Files that a result is written to."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from lig_core.client.shapes import MEDIA_TYPES, Format
from lig_core.errors import InvalidRequest
from lig_core.result.plain.later import Later

FORMATS_OF_BYTES = frozenset({".ndjson", ".npz", ".safetensors"})
"""Endings of files that are written as the service sends them; .json is indented first."""
_LAYER = re.compile(rb'\{"layer":(\d+),')


def format_of(path: Path) -> Format:
    """The format that a file's name ends with; raises InvalidRequest for another ending."""
    for form in MEDIA_TYPES:
        if path.suffix == f".{form}":
            return form
    *endings, last = (f".{form}" for form in MEDIA_TYPES)
    written = f"{', '.join(endings)} or {last}"
    raise InvalidRequest(f"'{path.name}' does not say its format; results are written as {written}: name the file so")


def layers_in(path: Path) -> int:
    """The number of layers in a file in one of FORMATS_OF_BYTES; reads no more than the names in it."""
    with path.open("rb") as file:
        if path.suffix == ".ndjson":
            return sum(line.startswith(b'{"layer":') for line in file)
        if path.suffix == ".npz":
            names = zipfile.ZipFile(file).namelist()
        else:
            names = orjson.loads(file.read(int.from_bytes(file.read(8), "little")))
    return len({name.split(".")[1] for name in names if name.startswith("layers.")})


def document_in(path: Path) -> dict[str, Any]:
    """The document of the result in an .ndjson file: each layer is read from there when it is written, and not kept."""
    document: dict[str, Any] = {}
    layers: dict[str, Later] = {}
    verdict, start = {}, 0
    with path.open("rb") as file:
        for line in file:
            if found := _LAYER.match(line):
                layers[found[1].decode()] = Later(partial(_maps_at, path, start))
            elif start:
                verdict = orjson.loads(line)
            else:
                document = orjson.loads(line)["head"]
            start += len(line)
    return {**document, "layers": layers, **verdict}


def _maps_at(path: Path, start: int) -> Any:
    """The maps of the layer whose line begins there."""
    with path.open("rb") as file:
        file.seek(start)
        return orjson.loads(file.readline())["maps"]


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` once it is whole."""
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
