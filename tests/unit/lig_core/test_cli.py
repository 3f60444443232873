"""`lig explain` writes the format that the file's suffix names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from lig_core import cli
from lig_core.client.files import FORMATS_OF_BYTES, layers_in
from lig_core.errors import ModelNotFound
from lig_core.loading.loaded import LoadedModel
from lig_core.models.catalog import find_model
from lig_core.result.formats import FORMATS
from tests.support.closeness import assert_close, assert_close_maps
from tests.support.made_results import made_head, made_layer
from tests.support.places import ROOT

FLOAT32 = 1e-4  # room for its rounding, whatever the processor
OPTIONS = ["--model", "minilm", "--granularity", "layer", "--layers", "1", "--rtol", "0.1"]
COMMAND = ["explain", "The cat sat.", *OPTIONS]


@pytest.fixture
def explained(tmp_path: Path, minilm: LoadedModel, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lig_core.loading.loaded.load_model", lambda *args, **kwargs: minilm)

    def explained(name: str) -> Path:
        done = CliRunner().invoke(cli.app, [*COMMAND, "-o", str(tmp_path / name)])
        size = (tmp_path / name).stat().st_size
        said = f"lig: wrote {tmp_path / name}: {size:,} bytes, 1 layer\n"
        assert (done.exit_code, done.stdout, done.stderr) == (0, "", said)
        return tmp_path / name

    return explained


def test_every_suffix_is_the_same_result(explained) -> None:
    document = json.loads(explained("result.json").read_text())
    matrix = document["layers"]["1"]["z2z"]["matrix"]  # computed anew for every file
    with np.load(explained("result.npz")) as found:
        assert_close(found["layers.1.z2z"], matrix, FLOAT32)
        assert json.loads(found["head"].item())["tokens"] == document["tokens"]
    tensors = safetensors.numpy.load(explained("result.safetensors").read_bytes())
    assert_close(tensors["layers.1.z2z"], matrix, FLOAT32)
    lines = explained("result.ndjson").read_text().splitlines()
    assert_close(json.loads(lines[1])["maps"]["z2z"]["matrix"], matrix, FLOAT32)
    assert "<html" in explained("result.html").read_text()


@pytest.mark.parametrize(
    ("command", "name", "known"),
    [
        *(
            (["explain", "cat", *where], name, [".json", ".ndjson", ".npz", ".safetensors", ".html"])
            for name in ("x.png", "x.csv", "x")
            for where in ([], ["--server", "http://localhost:1"])
        ),
        (["view", "absent.json"], "x.png", [".html"]),
        (["flow", "absent.json"], "x.csv", [".json"]),
    ],
)
def test_a_file_of_no_format_is_refused_at_once(
    tmp_path: Path, command: list[str], name: str, known: list[str]
) -> None:
    done = CliRunner().invoke(cli.app, [*command, "-o", str(tmp_path / name)])
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert f"'{name}'" in done.stderr and all(ending in done.stderr for ending in known)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["boundaries", "minilm", "--json"], ["boundaries", "minilm"]])
def test_a_reader_who_left_ends_it_quietly(arguments: list[str]) -> None:
    gone, out = os.pipe()
    os.close(gone)
    with os.fdopen(out, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "lig_core.cli", *arguments], stdout=closed, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("model", ["nomodel", "nobody/nothing", "nobody/nothing@v1"])
def test_a_model_that_is_nowhere_is_told_as_a_service_tells_it(model: str) -> None:
    done = CliRunner().invoke(cli.app, ["explain", "cat", "--model", model])
    with pytest.raises(ModelNotFound) as refused:
        find_model(model, ask_hub=True)
    assert (done.exit_code, done.stderr) == (2, f"lig: {refused.value.detail}\n")
    assert "neither a folder here nor in the local cache" in done.stderr


@pytest.mark.parametrize("python", [["-S"], []], ids=["without packages", "without torch"])
def test_a_python_beside_the_checkout_s_own_says_how_to_come_by_it(python: list[str]) -> None:
    script = "import sys; sys.modules['torch'] = None; from lig_core import explain"
    done = subprocess.run(
        [sys.executable, *python, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.stderr.splitlines()[-1].endswith("run: make install && . .venv/bin/activate")


@pytest.mark.parametrize("suffix", sorted(FORMATS_OF_BYTES))
def test_layers_are_counted_in_files_as_a_service_sends_them(tmp_path: Path, suffix: str) -> None:
    for layers in ([], [made_layer(3)], [made_layer(index) for index in (0, 2, 11)]):
        file = tmp_path / f"x{suffix}"
        file.write_bytes(b"".join(FORMATS[suffix[1:]].write(made_head(), layers)))
        assert layers_in(file) == len(layers)


def test_the_version_is_printed() -> None:
    done = CliRunner().invoke(cli.app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"lig {version('lig-service')}\n")


def test_tokens_are_explained_in_place_of_a_text(explained, tmp_path: Path) -> None:
    document = json.loads(explained("result.json").read_text())
    file = tmp_path / "again.json"
    command = ["explain", "--tokens", json.dumps(document["tokens"]), *OPTIONS, "-o", str(file)]
    assert CliRunner().invoke(cli.app, command).exit_code == 0
    assert_close_maps(json.loads(file.read_text()), document, FLOAT32)


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


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [(["serve", "--port", "0"], "embedded"), (["jobs", "list"], "api"), (["worker"], "worker")],
)
def test_a_command_whose_extra_is_missing_says_which(arguments: list[str], extra: str) -> None:
    source = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "redis":
            raise ModuleNotFoundError(name, name="redis")

sys.meta_path.insert(0, Missing())
from lig_core.cli import main
main(sys.argv[1:])
"""
    done = subprocess.run([sys.executable, "-c", source, *arguments], capture_output=True, text=True, check=False)
    said = f"lig: redis is not installed, and lig {arguments[0]} needs it; run: pip install 'lig-service[{extra}]'\n"
    assert (done.returncode, done.stderr) == (2, said)
