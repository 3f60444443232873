"""Long results: arrays until they are read, labels when they are asked for, nothing parsed again, files in parts."""

from __future__ import annotations

import copy
import json
import pickle
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from lig_core import explain
from lig_core.batch import explain_batch
from lig_core.errors import InvalidRequest
from lig_core.result import render
from lig_core.result.arrays import LayerArrays
from lig_core.result.formats import FORMATS
from lig_core.result.plain.later import Later, held
from lig_core.result.plain.lazy import LazyDict
from lig_core.result.plain.text import json_parts, plain, to_json
from lig_core.result.read import from_document
from lig_core.result.render import document
from lig_core.result.saved import read_result, save_result
from lig_core.result.viewer.show import Explanation
from tests.models.tiny_models import loaded
from tests.support.made_results import made_head, made_layer, made_result

TOKENS, MINILM = 128, {"heads": tuple(range(12)), "dimensions": 384}
TEXT = " ".join(["the quick fox sat on a mat"] * 8)


def long_layers() -> list[LayerArrays]:
    """Six of 128 tokens, of the shapes of minilm, with labels."""
    shape: dict[str, Any] = {"sources": TOKENS, "targets": tuple(range(TOKENS)), "labels": True, **MINILM}
    return [made_layer(index, **shape) for index in range(6)]


def short() -> tuple[Explanation, Any]:
    """A result with every map, status and NaN, and what a client reads of its JSON."""
    made = made_result(labels=True, targets=(0, 1, 3))
    result = Explanation(document(made.head, made))
    return result, orjson.loads(b"".join(FORMATS["json"].write(made.head, list(made))))


def named(**entries: Any) -> dict[str, Any]:
    return entries


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Bytes that Python and NumPy take at most while the block runs, beyond those before."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many documents of layers and columns of labels were made."""
    counts: Counter[str] = Counter()

    def counted(name: str, make: Callable[..., Any], *given: Any) -> Any:
        counts[name] += 1
        return make(*given)

    for name in ("layer_document", "_labelled_column"):
        monkeypatch.setattr(render, name, partial(counted, name, getattr(render, name)))
    return counts


def test_of_a_result_is_made_what_is_read_and_once(made: Counter[str]) -> None:
    result = explain("the quick fox sat", model=loaded("bert"), num_steps=2, on_unconverged="ignore")
    assert (list(result["layers"]), result["converged"], made) == (["0", "1", "2"], False, {})
    layer = result["layers"]["1"]
    assert layer["z2z"]["matrix"] is result["layers"]["1"]["z2z"]["matrix"]
    assert isinstance(layer["z2z"]["matrix"][0], list)
    assert made == {"layer_document": 1}
    entries = layer["z2z"]["token_to_token"][2]["contributions"]
    assert made == {"layer_document": 1, "_labelled_column": 1}
    assert [row[2] for row in layer["z2z"]["matrix"]] == [entry["value"] for entry in entries]
    assert isinstance(held(layer["composed"]["product"], "matrix"), np.ndarray)


def test_a_result_is_parsed_no_further_than_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, loads = [], orjson.loads
    monkeypatch.setattr(orjson, "loads", lambda text: (sizes.append(len(text)), loads(text))[1])
    options: dict[str, Any] = {"model": loaded("bert"), "num_steps": 2, "on_unconverged": "ignore"}
    results = [explain(TEXT, **options), *explain_batch([TEXT, TEXT], **options)]
    assert sum(sizes) < 0.05 * sum(len(to_json(result)) for result in results)


def test_a_long_result_takes_its_arrays_and_little_more(tmp_path: Path) -> None:
    layers, head = long_layers(), made_head(tokens=TOKENS)
    arrays = sum(layer.nbytes for layer in layers)
    with peak() as taken:
        result = Explanation(document(head, layers))
        assert taken() < 0.05 * arrays
    for name in ("x.npz", "x.html", "x.json"):
        with peak() as taken:
            save_result(result, tmp_path / name)
            assert taken() < arrays, name  # the document of one layer, and what of it is being written
    assert (tmp_path / "x.json").stat().st_size > 10 * arrays
    matrix = layers[1]["z2z"]
    with peak() as taken:
        assert result["layers"]["1"]["z2z"]["matrix"][5][7] == plain(matrix[5, 7])
        assert taken() < arrays


def test_computing_holds_no_more_than_twice_the_arrays() -> None:
    model = loaded("bert")
    options: dict[str, Any] = {"model": model, "layers": [0, 1], "num_steps": 2, "on_unconverged": "ignore"}
    explain(TEXT, **options)  # what is kept from call to call
    tracemalloc.start()
    try:
        result = explain(TEXT, **options)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert taken < 2 * sum(layer.nbytes for layer in from_document(result)[1])


def test_what_nobody_read_goes_back_into_the_very_arrays() -> None:
    layers = long_layers()[:2]
    result = Explanation(document(made_head(tokens=TOKENS), layers))
    result["layers"]["1"]["z2z"]["certificate"]
    untouched, read = from_document(result)[1]
    assert untouched is layers[0]
    assert read is not layers[1]
    for name, array in layers[1].arrays.items():
        np.testing.assert_array_equal(read[name], array, err_msg=name)


def test_the_text_of_a_document_is_the_same_in_parts_and_indented(tmp_path: Path) -> None:
    result, read = short()
    for depth in range(7):
        assert b"".join(json_parts(result, depth)) == to_json(read) == to_json(result)
        indented = b"".join(json_parts(result, depth, 0))
        assert indented == to_json(result, indented=True) == orjson.dumps(read, option=orjson.OPT_INDENT_2)
    save_result(result, tmp_path / "x.json")
    assert (tmp_path / "x.json").read_bytes() == indented + b"\n"
    for empty in ({}, [], {"a": {}, "b": [], "c": [{}]}):
        assert b"".join(json_parts(empty, 3, 0)) == orjson.dumps(empty, option=orjson.OPT_INDENT_2)


def test_a_result_is_saved_in_the_format_that_the_name_asks_for(tmp_path: Path) -> None:
    result, _ = short()
    for suffix in ("json", "ndjson", "npz", "safetensors"):
        save_result(result, tmp_path / f"x.{suffix}")
        back = read_result(tmp_path / f"x.{suffix}")
        assert to_json(document(back.head, back)) == to_json(result)
    with pytest.raises(InvalidRequest, match=r"'x\.csv' does not say its format"):
        save_result(result, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    "read",
    [
        dict,
        lambda lazy: {**lazy},
        lambda lazy: lazy | {},
        lambda lazy: {} | lazy,
        lambda lazy: {} | dict(lazy.items()),
        lambda lazy: dict(zip(lazy, lazy.values(), strict=True)),
        lambda lazy: lazy.copy(),
        copy.copy,
        copy.deepcopy,
        lambda lazy: pickle.loads(pickle.dumps(lazy)),
        lambda lazy: json.loads(json.dumps(lazy)),
        lambda lazy: json.loads(json.dumps(lazy, indent=1)),
        lambda lazy: eval(repr(lazy)),
        lambda lazy: {name: lazy.get(name) for name in lazy},
        lambda lazy: {name: lazy.setdefault(name, "absent") for name in lazy},
        lambda lazy: {name: lazy.pop(name) for name in list(lazy)},
        lambda lazy: dict(reversed([lazy.popitem() for _ in range(len(lazy))])),
        lambda lazy: named(**lazy),
        plain,
        lambda lazy: lazy,
    ],
)
def test_to_python_it_is_a_dict_of_plain_data(read: Callable[[Any], Any]) -> None:
    result, expected = short()
    for name, layer in expected["layers"].items():
        for part, value in layer.items():
            if isinstance(value, dict):
                found = short()[0]["layers"][name][part]
                assert isinstance(found, LazyDict)
                assert found == value
                found = read(short()[0]["layers"][name][part])
                assert found == value
                assert value == found
                assert json.dumps(found) == json.dumps(value)
    assert json.dumps(result) == json.dumps(expected)


def test_what_is_changed_stays_changed() -> None:
    result, expected = short()
    given = {"mine": [1.5]}
    for one in (result, expected):
        z2z = one["layers"]["0"]["z2z"]
        z2z["matrix"][0][1] = 7.0
        z2z["note"] = given
        z2z |= {"description": "other"}
        z2z.update({"shape": [1]}, baseline="none")
        del z2z["certificate"]
        one["layers"]["2"]["targets"].pop("1")
    assert result == expected
    assert not (result != expected)  # noqa: SIM202 - it has an operator of its own
    assert result["layers"]["0"]["z2z"]["note"] is given
    assert plain(result) == expected
    expected["layers"]["0"]["z2z"]["matrix"][0][1] = 8.0
    assert result != expected
    with pytest.raises(KeyError):
        result["layers"]["9"]
    assert result["layers"].get("9", "none") == result["layers"].pop("9", "none") == "none"
    assert "9" not in result["layers"]


def test_what_looks_past_its_methods_is_told_and_not_misled() -> None:
    result, _ = short()
    for option in (0, orjson.OPT_SERIALIZE_NUMPY):
        with pytest.raises(TypeError, match="not JSON serializable"):
            orjson.dumps(result, option=option)
    with pytest.raises(TypeError, match="not JSON serializable: object"):
        to_json({"a": object()})
    assert to_json(Later(lambda: [Later(lambda: 1)])) == b"[1]"
