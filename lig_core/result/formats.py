"""Whole results in four formats, written as they are loaded: one layer in memory at a time, the same numbers in all.

    json         the document
    ndjson       {"head": …}, then {"layer": 3, "maps": {…}} a line for each layer, then the verdict
    npz          for np.load(file): "head" (JSON), "statuses", "layers.3.z2z" and so on, then the verdict
    safetensors  the same tensors; "head", "statuses" and the verdict as JSON in the metadata

The tensors' names, axes and units are those of `arrays`. `layers.3.about` is JSON: the layer's quadrature and engines.
`head` is the result's document without its layers, and `statuses` what the numbers in `.status` stand for:

    found = np.load("result.npz")
    json.loads(found["head"].item())["tokens"]
    found["statuses"][found["layers.3.z2z.status"]]

The verdict is `converged`, `columns` and `unconverged` (the last two JSON in npz), and about what is written: of a
selection, the columns selected.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from lig_core.result.arrays import MAPS, STATUSES, Array, Head, LayerArrays
from lig_core.result.plain.text import json_parts, to_json
from lig_core.result.render import layer_document
from lig_core.result.verdict import Verdict

Layers = Iterable[LayerArrays]
Spec = tuple[str, tuple[int, ...], int]
"""A tensor in a header: its dtype, its shape, its bytes."""
_DTYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "bool": "BOOL", "uint8": "U8"}
"""NumPy's names of dtypes, and those of safetensors."""


LAYER_DEPTH = 3
"""The depth to which a layer is written in parts: each matrix, each column of labels, each map of each target."""


@dataclass(frozen=True)
class Format:
    """A way of writing results: its media type, its suffix, and what yields the bytes."""

    media_type: str
    suffix: str
    write: Callable[[Head, Layers], Iterator[bytes]]


def layer_line(head: Head, layer: LayerArrays) -> bytes:
    """{"layer": 3, "maps": {…}} on one line: what NDJSON has of a layer, without the end of the line."""
    return to_json({"layer": layer.index, "maps": layer_document(head, layer)})


def write_json(head: Head, layers: Layers) -> Iterator[bytes]:
    """The document; the verdict stands after the layers."""
    verdict, between = Verdict(), b""
    yield to_json(dict(head))[:-1] + b',"layers":{'
    for layer in layers:
        yield between + b'"%d":' % layer.index
        yield from json_parts(layer_document(head, layer), LAYER_DEPTH)
        verdict.add(layer)
        between = b","
    yield b"}," + to_json(verdict.document())[1:]


def write_ndjson(head: Head, layers: Layers) -> Iterator[bytes]:
    """A line for the head, one for each layer, one for the verdict."""
    verdict = Verdict()
    yield to_json({"head": dict(head)}) + b"\n"
    for layer in layers:
        yield b'{"layer":%d,"maps":' % layer.index
        yield from json_parts(layer_document(head, layer), LAYER_DEPTH)
        yield b"}\n"
        verdict.add(layer)
    yield to_json(verdict.document()) + b"\n"


def write_npz(head: Head, layers: Layers) -> Iterator[bytes]:
    """A zip of .npy files, not compressed; the same bytes every time."""
    sink, verdict = _Sink(), Verdict()
    with zipfile.ZipFile(sink, "w") as archive:
        yield from _members(archive, sink, {"head": _text(dict(head)), "statuses": np.array(STATUSES)})
        for layer in layers:
            yield from _members(archive, sink, _named(layer) | {f"layers.{layer.index}.about": _text(layer.about)})
            verdict.add(layer)
        document = verdict.document()
        texts = {name: _text(value) for name, value in document.items() if name != "converged"}
        yield from _members(archive, sink, {"converged": np.array(document["converged"]), **texts})
    yield sink.taken()


def write_safetensors(head: Head, layers: Layers) -> Iterator[bytes]:
    """A header with every shape, then the tensors. Goes through the layers twice: a list or a Result, no iterator."""
    if isinstance(layers, Iterator):
        raise TypeError("layers are gone through twice; give a list or a Result in place of an iterator")
    maps: list[tuple[str, Spec]] = []
    small: dict[str, Array] = {}  # all that is not a map: kept from the first time
    metadata, verdict = {"head": _json(dict(head)), "statuses": _json(STATUSES)}, Verdict()
    for layer in layers:
        metadata[f"layers.{layer.index}.about"] = _json(layer.about)
        verdict.add(layer)
        for name, array in _named(layer).items():
            if _is_map(name):
                maps.append((name, _spec(array)))
            else:
                small[name] = array
    metadata |= {name: _json(value) for name, value in verdict.document().items()}
    # Wider numbers stand before narrower ones, so that each is aligned to its own width.
    before = {name: array for name, array in small.items() if array.itemsize == 8}
    narrower = sorted(small.keys() - before.keys(), key=lambda name: (-small[name].itemsize, name))
    after = {name: small[name] for name in narrower}
    yield _header(metadata, [*_specs(before), *maps, *_specs(after)])
    yield from (array.tobytes() for array in before.values())
    for layer in layers:
        yield from (array.tobytes() for name, array in _named(layer).items() if _is_map(name))
    yield from (array.tobytes() for array in after.values())


FORMATS: Mapping[str, Format] = {
    "json": Format("application/json", ".json", write_json),
    "ndjson": Format("application/x-ndjson", ".ndjson", write_ndjson),
    "npz": Format("application/x-npz", ".npz", write_npz),
    "safetensors": Format("application/vnd.safetensors", ".safetensors", write_safetensors),
}


def _named(layer: LayerArrays) -> dict[str, Array]:
    return {f"layers.{layer.index}.{name}": array for name, array in layer.arrays.items()}


def _is_map(name: str) -> bool:
    return name.split(".", 2)[2] in MAPS


def _spec(array: Array) -> Spec:
    return _DTYPES[array.dtype.name], array.shape, array.nbytes


def _specs(arrays: Mapping[str, Array]) -> list[tuple[str, Spec]]:
    return [(name, _spec(array)) for name, array in arrays.items()]


def _header(metadata: Mapping[str, str], tensors: Iterable[tuple[str, Spec]]) -> bytes:
    """The header of a safetensors file: its length, then where each tensor lies among the bytes that follow."""
    header: dict[str, Any] = {"__metadata__": metadata}
    start = 0
    for name, (dtype, shape, size) in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    written = orjson.dumps(header)
    written += b" " * (-len(written) % 8)
    return len(written).to_bytes(8, "little") + written


class _Sink(io.RawIOBase):
    """The buffer that a zip file is written to; it keeps what has not been taken yet."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: Any, /) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def taken(self) -> bytes:
        taken, self._parts = b"".join(self._parts), []
        return taken


def _members(archive: zipfile.ZipFile, sink: _Sink, arrays: Mapping[str, Array]) -> Iterator[bytes]:
    for name, array in arrays.items():
        member = zipfile.ZipInfo(f"{name}.npy")  # dated 1980, not now
        member.file_size = array.nbytes  # it decides whether the member needs 64-bit sizes
        with archive.open(member, "w") as file:
            np.save(file, array, allow_pickle=False)
        yield sink.taken()


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _text(value: Any) -> Array:
    """JSON that np.load reads as a string."""
    return np.array(_json(value))
