"""Where the nodes sit: what the config says is what the loaded model shows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_families import DESCRIBED
from tiny_models import FAMILIES, loaded
from typer.testing import CliRunner

from lig_core import describe_boundaries
from lig_core.cli import app
from lig_core.families import FAMILIES as TABLE
from lig_core.precision import working_precision


def saved(folder: Path, name: str) -> str:
    FAMILIES[name].config.save_pretrained(folder / name)
    return str(folder / name)


@pytest.mark.parametrize("name", DESCRIBED)
def test_the_config_alone_says_what_the_loaded_model_shows(name: str, tmp_path: Path) -> None:
    said = describe_boundaries(saved(tmp_path, name))
    with working_precision(torch.float64):
        shown = loaded(name).boundaries()
    for key in ("layout", "architecture", "num_layers", "supported_granularity", "nodes", "u_nodes"):
        assert said[key] == shown[key], key
    engine = said["notes"][0].partition(";")[0]
    assert all(note.startswith(engine) for note in shown["notes"])


def test_every_family_of_the_table_is_tested() -> None:
    assert {FAMILIES[name].config.model_type for name in DESCRIBED} >= set(TABLE)


def test_with_weights_the_hooks_are_modules_of_the_model() -> None:
    with working_precision(torch.float64):
        shown = loaded("llama").boundaries()
    names = dict(loaded("llama").model.named_modules())
    assert shown["hook_points"]["att_core"] == "layers.0.self_attn"
    assert shown["hook_points"]["mlp_input"].partition(" ")[0] in names


def test_an_unknown_family_is_said_to_be_unknown(tmp_path: Path) -> None:
    said = describe_boundaries(saved(tmp_path, "cohere"))
    assert said["layout"] == "unknown"
    assert said["supported_granularity"] == []


def test_describing_every_family_imports_no_torch_and_takes_no_time(tmp_path: Path) -> None:
    folders = [saved(tmp_path, name) for name in DESCRIBED]
    script = (
        "import sys, time; from lig_core.boundaries import describe_boundaries; start = time.perf_counter();"
        "[describe_boundaries(m) for m in sys.argv[1:]]; print(time.perf_counter() - start, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, check=True)
    seconds, torch_imported = done.stdout.split()
    assert torch_imported == "False"
    assert float(seconds) / len(folders) < 0.1


def test_the_command_describes_several_models(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["boundaries", "--json", "minilm", saved(tmp_path, "gpt2"), saved(tmp_path, "bert")])
    assert done.exit_code == 0
    assert done.output.count('"layout"') == 3
