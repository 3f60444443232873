"""Results in files, in any of their formats: saved, and read back."""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from safetensors.numpy import load

from lig_core.errors import InvalidRequest, LigError
from lig_core.result.arrays import Array, Head, LayerArrays, Result, metadata_of
from lig_core.result.formats import FORMATS
from lig_core.result.plain.text import json_file
from lig_core.result.read import from_document, require_maps
from lig_core.result.viewer.page import write_page

Tensors = dict[str, Array]
Write = Callable[[Head, list[LayerArrays]], Iterator[bytes]]


def save_result(result: Mapping[str, Any], path: Path) -> None:
    """Write what `explain` returned as the .json, .ndjson, .npz, .safetensors or .html file that the name asks for.

    What nobody has read of it is written from its arrays, and stays arrays. Raises InvalidRequest for another ending.
    """
    writers: Mapping[str, Write] = {form.suffix: form.write for form in FORMATS.values()} | {".html": write_page}
    if path.suffix not in writers:
        raise InvalidRequest(f"'{path.name}' does not say its format; name it with one of {', '.join(writers)}")
    if path.suffix == ".json":
        parts = json_file(result)  # as it is, and for people
    else:
        head, layers = from_document(result)
        parts = writers[path.suffix](head, list(layers))
    with path.open("wb") as file:
        file.writelines(parts)


def read_result(path: Path) -> Result:
    """The result in a .json, .ndjson, .npz or .safetensors file; raises InvalidRequest where there is none in it."""
    readers = {
        ".json": _json,
        ".ndjson": _ndjson,
        ".npz": _npz,
        ".safetensors": lambda path: from_safetensors(path.read_bytes()),
    }
    if path.suffix not in readers:
        raise InvalidRequest(f"'{path.name}' is none of the files that a result is read from: {', '.join(readers)}")
    try:
        result = readers[path.suffix](path)
        require_maps(result.head)
        return result
    except LigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidRequest(f"'{path.name}' is no result as lig writes it: {why}") from error


def _json(path: Path) -> Result:
    head, layers = from_document(orjson.loads(path.read_bytes()))
    return Result.of(head, layers)


def _ndjson(path: Path) -> Result:
    head, *layers, _verdict = map(orjson.loads, path.read_bytes().splitlines())
    return Result.of(*from_document({**head["head"], "layers": {str(one["layer"]): one["maps"] for one in layers}}))


def _npz(path: Path) -> Result:
    with np.load(path) as found:
        names = [name for name in found.files if name.startswith("layers.")]
        about = {name: orjson.loads(found[name].item()) for name in names if name.endswith(".about")}
        tensors = {name: found[name] for name in names if name not in about}
        return _of(orjson.loads(found["head"].item()), about, tensors)


def from_safetensors(data: bytes) -> Result:
    """The result in a file's bytes; what is none raises ValueError, KeyError or TypeError."""
    metadata = metadata_of(data)
    about = {name: orjson.loads(text) for name, text in metadata.items() if name.endswith(".about")}
    return _of(orjson.loads(metadata["head"]), about, load(data))


def _of(head: dict[str, Any], about: dict[str, Any], tensors: Tensors) -> Result:
    """Tensors are called `layers.<layer>.<name>`, what is about a layer `layers.<layer>.about`."""
    by_layer: dict[int, Tensors] = defaultdict(dict)
    for name, array in tensors.items():
        _, layer, part = name.split(".", 2)
        by_layer[int(layer)][part] = array
    described = sorted(about.values(), key=lambda one: one["index"])
    return Result.of(head, [LayerArrays.stored(by_layer[one["index"]], one) for one in described])
