"""A saved result reads back as it was, whatever its format."""

from pathlib import Path

import numpy as np
import pytest

from lig_core.errors import InvalidRequest
from lig_core.result.arrays import LayerArrays
from lig_core.result.formats import FORMATS
from lig_core.result.saved import read_result
from tests.support.made_results import made_result


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_format_reads_back(tmp_path: Path, name: str, dtype: str) -> None:
    result = made_result(dtype=dtype)
    path = tmp_path / f"result.{name}"
    path.write_bytes(b"".join(FORMATS[name].write(result.head, list(result))))
    found = read_result(path)
    assert (found.head, list(found.indices)) == (result.head, list(result.indices))
    for one, other in zip(found, result, strict=True):
        assert one.arrays.keys() == other.arrays.keys()
        for tensor, array in other.arrays.items():
            np.testing.assert_array_equal(one[tensor], array, err_msg=tensor)
            assert one[tensor].dtype == array.dtype, tensor


@pytest.mark.parametrize("name", ["a.json", "a.ndjson", "a.npz", "a.safetensors", "a.txt"])
def test_what_is_no_result_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"[]")
    with pytest.raises(InvalidRequest, match=name):
        read_result(tmp_path / name)


def test_what_a_result_lacks_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": 1}')
    with pytest.raises(InvalidRequest, match="it lacks 'layers'"):
        read_result(tmp_path / "a.json")


@pytest.mark.parametrize("name", FORMATS)
def test_measured_sentences_are_no_maps(tmp_path: Path, name: str) -> None:
    head = {"sentences": [{"place": 0, "tokens": ["Go"]}], "left_out": []}
    layer = LayerArrays(0, {"pairs.distance": np.ones((1, 2)), "pairs.converged": np.ones((1, 2), bool)}, "adaptive")
    path = tmp_path / f"result.{name}"
    path.write_bytes(b"".join(FORMATS[name].write(head, [layer])))
    with pytest.raises(InvalidRequest, match="sentences that an experiment measured"):
        read_result(path)
