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

OPTIONS = ["--model", "minilm", "--granularity", "layer", "--layers", "1", "--rtol", "0.1"]
COMMAND = ["explain", "The cat sat.", *OPTIONS]


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


def test_tokens_are_explained_in_place_of_a_text(explained, tmp_path: Path) -> None:
    document = json.loads(explained("result.json").read_text())
    file = tmp_path / "again.json"
    command = ["explain", "--tokens", json.dumps(document["tokens"]), *OPTIONS, "-o", str(file)]
    assert CliRunner().invoke(cli.app, command).exit_code == 0
    assert json.loads(file.read_text())["layers"] == document["layers"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tokens", "[CLS] cat"], "--tokens takes a JSON list"),
        (["--tokens", '"cat"'], "tokens: "),
        (["cat", "--tokens", '["cat"]'], "both text and tokens are given"),
        ([], "send a text, or its tokens"),
    ],
)
def test_what_is_no_list_of_tokens_is_one_line(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(cli.app, ["explain", *arguments, *OPTIONS])
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
