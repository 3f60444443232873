"""The four formats: their own libraries open them, and the numbers are the same to the last bit."""

from __future__ import annotations

import io
import json
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch

from lig_core.result.arrays import STATUSES, LayerArrays, Result
from lig_core.result.formats import FORMATS
from lig_core.result.plain.text import to_json
from lig_core.result.read import from_document
from lig_core.result.render import document, layer_document
from lig_core.result.select import Selection, select
from tests.support.made_results import made_head, made_layer, made_result


def written(name: str, result: Result) -> bytes:
    return b"".join(FORMATS[name].write(result.head, result))


def named(result: Result) -> dict[str, Any]:
    """Every array by the name it has in files, as bits."""
    return {f"layers.{layer.index}.{name}": bits(array) for layer in result for name, array in layer.arrays.items()}


def bits(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.name, array.shape, array.tobytes()


def from_lines(data: bytes) -> dict[str, Any]:
    head, *layers, verdict = map(orjson.loads, data.splitlines())
    return {**head["head"], "layers": {str(line["layer"]): line["maps"] for line in layers}, **verdict}


@pytest.mark.parametrize("targets", [(0, 1, 2, 3, 4), (1, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_all_formats_hold_the_same_numbers(dtype: str, targets: tuple[int, ...]) -> None:
    result = made_result(dtype=dtype, targets=targets)
    expected = named(result)
    npz = np.load(io.BytesIO(written("npz", result)), allow_pickle=False)
    assert {name: bits(npz[name]) for name in expected} == expected
    tensors = safetensors.numpy.load(written("safetensors", result))
    assert {name: bits(array) for name, array in tensors.items()} == expected
    for found in (orjson.loads(written("json", result)), from_lines(written("ndjson", result))):
        assert named(Result.of(*from_document(found))) == expected


def test_json_is_the_document_in_a_stream() -> None:
    result = made_result(labels=True)
    assert written("json", result) == to_json(document(result.head, result))
    whole = len(to_json(layer_document(result.head, made_layer(labels=True))))
    assert max(map(len, FORMATS["json"].write(result.head, result))) < whole / 2  # no layer is written in one go


def test_ndjson_is_the_document_line_by_line() -> None:
    result = made_result()
    assert from_lines(written("ndjson", result)) == orjson.loads(written("json", result))


def test_an_npz_says_what_it_is_about() -> None:
    result = made_result()
    found = np.load(io.BytesIO(written("npz", result)), allow_pickle=False)
    assert json.loads(found["head"].item()) == result.head
    assert found["converged"].item() is True
    assert json.loads(found["layers.2.about"].item()) == result.load(2).about
    assert found["statuses"][found["layers.2.z2z.status"]].tolist() == [
        STATUSES[code] for code in result.load(2)["z2z.status"]
    ]
    verdict = {"converged", "columns", "unconverged"}
    assert set(found.files) == {"head", "statuses", *verdict, "layers.0.about", "layers.2.about", *named(result)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_safetensors_file_opens_everywhere_and_says_what_it_is_about(tmp_path: Path, dtype: str) -> None:
    result = made_result(dtype=dtype, heads=(2,), targets=(1, 2, 4))
    path = tmp_path / "result.safetensors"
    path.write_bytes(written("safetensors", result))
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["head"]) == result.head
    assert json.loads(metadata["converged"]) is True
    assert json.loads(metadata["statuses"]) == list(STATUSES)
    assert json.loads(metadata["layers.2.about"]) == result.load(2).about
    for name, tensor in safetensors.torch.load_file(path).items():
        assert bits(tensor.numpy()) == named(result)[name]


def test_every_tensor_of_a_safetensors_file_is_aligned() -> None:
    data = written("safetensors", made_result(heads=(2,), targets=(1, 2, 4)))
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    widths = {"F64": 8, "I64": 8, "F32": 4, "BOOL": 1, "U8": 1}
    for name, spec in orjson.loads(data[8 : 8 + size]).items():
        assert name == "__metadata__" or spec["data_offsets"][0] % widths[spec["dtype"]] == 0


def test_safetensors_do_not_take_layers_that_come_once() -> None:
    with pytest.raises(TypeError, match="twice"):
        list(FORMATS["safetensors"].write(made_head(), iter([made_layer()])))


@pytest.mark.parametrize("name", FORMATS)
def test_no_layers_and_the_largest_alone_are_written_as_well(name: str) -> None:
    empty = Result.of(made_head(), [])
    assert written(name, empty)
    top = select(made_result(), Selection(top_k=2, maps=["layer", "att"]))
    data = written(name, top)
    if name in ("npz", "safetensors"):
        found = np.load(io.BytesIO(data)) if name == "npz" else safetensors.numpy.load(data)
        assert bits(found["layers.2.att.top"]) == bits(top.load(2)["att.top"])


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_result_is_the_same_bytes(name: str) -> None:
    assert written(name, made_result()) == written(name, made_result())


@pytest.mark.parametrize("name", FORMATS)
def test_layers_are_let_go_once_they_are_written(name: str) -> None:
    alive: list[weakref.ref[LayerArrays]] = []
    most = 0

    def load(index: int) -> LayerArrays:
        nonlocal most
        layer = made_layer(index)
        alive.append(weakref.ref(layer))
        most = max(most, sum(ref() is not None for ref in alive))
        return layer

    for _ in FORMATS[name].write(made_head(), Result(made_head(), range(6), load)):
        pass
    assert most <= 2  # the one that was written, and the next


@pytest.mark.parametrize("name", FORMATS)
def test_one_column_that_missed_its_tolerance_is_told_at_the_end(name: str) -> None:
    layer = made_layer(2)
    layer["att.converged"][1, 2] = False
    layers = [made_layer(0), layer]
    data = written(name, Result.of(made_head(), layers))
    if name == "npz":
        found = np.load(io.BytesIO(data))
        told = {key: json.loads(found[key].item()) for key in ("columns", "unconverged")}
        told["converged"] = found["converged"].item()
    elif name == "safetensors":
        size = int.from_bytes(data[:8], "little")
        metadata = orjson.loads(data[8 : 8 + size])["__metadata__"]
        told = {key: json.loads(metadata[key]) for key in ("converged", "columns", "unconverged")}
    else:
        told = orjson.loads(data.splitlines()[-1])
    assert told["converged"] is False
    assert told["unconverged"] == [{"layer": 2, "map": "att", "columns": 1}]
    codes = np.concatenate([each[f"{part}.status"].ravel() for each in layers for part in ("z2z", "att", "mlp")])
    assert told["columns"] == {status: n for k, status in enumerate(STATUSES) if (n := int((codes == k).sum()))}
