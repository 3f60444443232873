"""One layer's arrays: names and axes as documented, bytes that lose nothing, and no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lig_core.contract import ExplainRequest
from lig_core.method import run, stream
from lig_core.result.arrays import AXES, MAPS, LayerArrays
from lig_core.result.plain.text import plain, to_json
from lig_core.result.read import from_document
from lig_core.result.render import document
from lig_core.result.select import Selection, select
from tests.models.tiny_models import loaded
from tests.support.made_results import made_layer, made_result

TEXT = "the quick fox sat"


def same(a: LayerArrays, b: LayerArrays) -> bool:
    """Bit for bit."""

    def bits(layer: LayerArrays) -> dict[str, Any]:
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in layer.arrays.items()}

    return bits(a) == bits(b) and a.about == b.about


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_lose_nothing(dtype: str) -> None:
    layer = made_layer(7, dtype=dtype, labels=True)
    odd = np.array([0x7FC00001, 0xFFC00000], np.uint32).view(np.float32)  # NaNs of two kinds
    layer = LayerArrays(**{**vars(layer), "arrays": {**layer.arrays, "odd": odd}})
    again = LayerArrays.from_bytes(layer.to_bytes())
    assert same(again, layer)
    assert (again.index, again.labels, again.nbytes) == (7, True, layer.nbytes)


def test_tensors_are_read_in_the_same_order_every_time() -> None:
    data = made_layer().to_bytes()
    orders = {tuple(LayerArrays.from_bytes(data).arrays) for _ in range(10)}
    assert len(orders) == 1


def test_a_layer_that_was_stored_before_entries_were_estimated_is_read_and_its_errors_are_null() -> None:
    layer = made_layer()
    old = replace(layer, arrays={name: x for name, x in layer.arrays.items() if not name.endswith(".entry_error")})
    read = LayerArrays.from_bytes(old.to_bytes())
    assert set(read.arrays) == set(layer.arrays)
    shown = plain(document(made_result().head, [read]))["layers"][str(layer.index)]
    assert set(shown["z2z"]["certificate"]["entry_error"]) == {None}
    assert plain(document(made_result().head, [layer]))["layers"][str(layer.index)] != shown


def test_a_slice_has_bytes_too() -> None:
    (layer,) = select(made_result(indices=(0,)), Selection(targets=[1, 3], top_k=2))
    assert same(LayerArrays.from_bytes(layer.to_bytes()), layer)


@pytest.mark.parametrize("u_node", ["residual", "heads"])
def test_a_computed_layer_has_the_tensors_and_axes_that_are_documented(u_node: Any) -> None:
    request = ExplainRequest(text=TEXT, num_steps=1, layers=[1], target_tokens=[2, 0], u_node=u_node)
    (layer,) = stream(request, loaded("bert"))[1]
    made = {name for name in AXES if name != "visible" and not name.endswith("in_float64")}  # in it each token sees all
    expected = {name for name in made if ".top" not in name} - ({"mlp.per_head"} if u_node == "residual" else set())
    assert set(layer.arrays) == expected
    sizes = {"source": 4, "target": 2, "head": 4, "any head": 4, "dimension": 32}
    for name, array in layer.arrays.items():
        assert array.shape == tuple(sizes[axis] for axis in AXES[name]), name
        assert array.dtype == (np.float64 if name in MAPS else array.dtype)  # the tiny models compute in float64
    assert (layer.targets, layer.heads) == ([0, 2], [0, 1, 2, 3])
    assert layer.maps == ("att", "mlp", "layer", "composed")


def test_whatever_missed_its_tolerance_is_told() -> None:
    layer = made_layer()
    assert layer.converged
    for name in ("z2z", "att", "mlp", "composed"):
        missed = layer[f"{name}.converged"].copy()
        missed.flat[-1] = False
        assert not LayerArrays(0, {**layer.arrays, f"{name}.converged": missed}).converged


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": True},
        {"target_tokens": [1, 3], "target_head": 2},
        {"granularity": "mlp", "u_node": "heads"},
        {"granularity": "composed", "target_tokens": [2]},
        {"granularity": "layer", "target_tokens": [3], "labels": True},
        {"granularity": ["att"]},
    ],
)
def test_a_document_reads_back_into_the_arrays_it_was_made_of(fields: dict[str, Any]) -> None:
    request = ExplainRequest(text=TEXT, num_steps=2, dtype="float64", **fields)
    found = run(request, loaded("gpt2"))
    for result in (found, plain(found)):
        head, layers = from_document(result)
        assert to_json(document(head, layers)) == to_json(found)


def test_of_the_largest_alone_there_is_no_way_back() -> None:
    top = select(made_result(), Selection(top_k=1))
    with pytest.raises(ValueError, match="top_k"):
        list(from_document(plain(document(top.head, top)))[1])


def test_results_need_no_torch() -> None:
    modules = "arrays, diff, formats, read, render, select, words"
    script = f"import sys; from lig_core.result import {modules}; print({{'torch', 'transformers'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
