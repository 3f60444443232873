"""Where the nodes sit: what the config says is what the loaded model shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lig_core import describe_boundaries
from lig_core.blocks.precision import working_precision
from lig_core.cli import app
from lig_core.models.families import FAMILIES as TABLE
from tests.models.tiny_families import DESCRIBED
from tests.models.tiny_models import FAMILIES, loaded


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


@pytest.mark.parametrize(
    ("name", "layout", "how"),
    [
        ("bart", "post_ln_encoder", "closed-form paths (norm: none, positions: none)"),
        ("cohere", "parallel_ln_decoder", "closed-form paths (norm: layer, positions: rotary)"),
        ("llama4_text", "pre_ln_decoder", "closed-form paths (norm: rms, positions: rotary, key norm)"),
        ("olmo", "pre_ln_decoder", "closed-form paths (norm: layer, positions: rotary)"),
        ("olmo3", "reordered_ln_decoder", "closed-form paths (norm: none, positions: rotary, key norm)"),
        ("openai-gpt", "post_ln_decoder", "attention found at its softmax; logits of pairs of tokens (norm: none)"),
    ],
)
def test_with_weights_a_family_that_the_table_does_not_name_is_described_all_the_same(
    name: str, layout: str, how: str
) -> None:
    with working_precision(torch.float64):
        shown = loaded(name).boundaries()
    assert name not in TABLE
    assert (shown["layout"], shown["notes"]) == (layout, [f"engine: factored; {how}"])


def test_describing_every_family_imports_no_torch_and_takes_no_time(tmp_path: Path) -> None:
    folders = [saved(tmp_path, name) for name in DESCRIBED]
    script = (
        "import sys, time; from lig_core import describe_boundaries; clock = time.process_time\n"
        "for folder in sys.argv[1:]: start = clock(); describe_boundaries(folder); print(clock() - start)\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script, *folders], capture_output=True, text=True, check=True)
    seconds = [float(line) for line in done.stdout.split()]
    assert len(seconds) == len(folders)
    assert sum(seconds) / len(seconds) < 0.1


def test_the_command_prints_a_row_for_every_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)
    folders = [f"./{name}" for name in ("gpt2", "gptj", "mamba") if saved(tmp_path, name)]
    done = CliRunner().invoke(app, ["boundaries", "minilm", *folders])
    assert done.exit_code == 0
    rows = {row.split()[1]: row for row in done.output.splitlines() if row.startswith("│")}
    assert list(rows) == ["minilm", *folders]
    assert "post_ln_encoder" in rows["minilm"]
    assert "att composed layer mlp" in rows["./gpt2"]
    assert "use u_node='heads'" in rows["./gptj"]
    assert "its blocks have no attention" in rows["./mamba"]


def test_the_command_gives_the_same_as_json(tmp_path: Path) -> None:
    models = ["minilm", saved(tmp_path, "gpt2"), saved(tmp_path, "bert")]
    done = CliRunner().invoke(app, ["boundaries", "--json", *models])
    assert done.exit_code == 0
    assert json.loads(done.output) == [describe_boundaries(model) for model in models]


def test_with_weights_the_command_says_which_engine_and_why() -> None:
    done = CliRunner().invoke(app, ["boundaries", "--weights", "--json", "--device", "cpu", "minilm"])
    (described,) = json.loads(done.output)
    assert described["detection"] == "the model's own blocks, replayed and verified"
    assert described["hook_points"]["att_core"] == "encoder.layer.0.attention.self"
    assert described["notes"] == ["engine: factored; closed-form paths (norm: none, positions: none)"]


def test_what_cannot_be_described_is_a_line_each_and_exit_code_2_and_the_rest_is_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    models = ["nobody/nothing", saved(tmp_path, "gpt2"), str(tmp_path / "none"), "minilm"]
    done = CliRunner().invoke(app, ["boundaries", *models])
    assert done.exit_code == 2
    assert [row.split()[1] for row in done.stdout.splitlines() if row.startswith("│")] == [models[1], models[3]]
    assert len(done.stderr.splitlines()) == 2
    for line, model in zip(done.stderr.splitlines(), models[::2], strict=True):
        assert line.startswith("lig: ") and model in line
    alone = CliRunner().invoke(app, ["boundaries", models[0]])
    assert (alone.exit_code, alone.stdout, alone.stderr.count("\n")) == (2, "", 1)


def test_as_json_the_error_stands_in_the_place_of_the_description(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["boundaries", "--json", str(tmp_path), "minilm"])
    assert done.exit_code == 2
    lacking, described = json.loads(done.stdout)
    assert (lacking["model"], lacking["error"]["code"]) == (str(tmp_path), "model_not_found")
    assert described == describe_boundaries("minilm")
