"""`lig explain` writes the format that the file's suffix names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from lig_core import cli
from lig_core.models import LoadedModel

COMMAND = ["explain", "The cat sat.", "--model", "minilm", "--granularity", "layer", "--layers", "1", "--steps", "2"]


@pytest.fixture
def explained(tmp_path: Path, minilm: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lig_core.models.load_model", lambda *args, **kwargs: minilm)

    def explained(name: str) -> Path:
        done = CliRunner().invoke(cli.app, [*COMMAND, "-o", str(tmp_path / name)])
        assert (done.exit_code, done.output) == (0, "")
        return tmp_path / name

    return explained


def test_every_suffix_is_the_same_result(explained) -> None:
    document = json.loads(explained("result.json").read_text())
    matrix = np.array(document["layers"]["1"]["z2z"]["matrix"], np.float32)
    with np.load(explained("result.npz")) as found:
        assert np.array_equal(found["layers.1.z2z"], matrix)
        assert json.loads(found["head"].item())["tokens"] == document["tokens"]
    tensors = safetensors.numpy.load(explained("result.safetensors").read_bytes())
    assert np.array_equal(tensors["layers.1.z2z"], matrix)
    lines = explained("result.ndjson").read_text().splitlines()
    assert json.loads(lines[1])["maps"] == document["layers"]["1"]
    assert "<html" in explained("result.html").read_text()
