"""Calls of `lig` as code for the authors' library makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, GPT2Config

import lig
from lig.api import explain, explain_to_json
from lig.config import LIGConfig
from lig_core.contract import ALL_MAPS, parse_request
from lig_core.errors import InvalidRequest, LigError, ModelNotFound, UnsupportedMap, UnsupportedModel
from lig_core.loading.given import load
from lig_core.loading.loaded import LoadedModel
from service.submit.tokens import TokenCounter
from tests.models.tiny_families import FAMILIES
from tests.models.tiny_models import build, loaded, tiny_tokenizer
from tests.models.token_folders import byte_level
from tests.support.closeness import assert_close

TEXT = "the quick fox sat"
RULE = {"num_steps": 2, "on_unconverged": "ignore"}


def asked(name: str = "bert", **options: Any) -> dict[str, Any]:
    return explain(TEXT, model=loaded(name), **{"layers": [0], **RULE, **options})


def matrix(result: dict[str, Any]) -> torch.Tensor:
    return torch.tensor(result["layers"]["0"]["z2z"]["matrix"], dtype=torch.float64)


def test_the_layer_map_is_that_of_all_tokens_whatever_targets_are_asked_for() -> None:
    every, some = asked(), asked(target_tokens=[2])
    assert_close(matrix(some), matrix(every), 1e-12)
    layer = some["layers"]["0"]
    assert [row["target_token_idx"] for row in layer["z2z"]["token_to_token"]] == [2]
    assert list(layer["targets"]) == ["2"]
    assert some["config"]["target_tokens"] == [2]
    alone = asked(granularity=["att", "mlp"], target_tokens=[2])
    assert layer["targets"]["2"]["u2z"]["l2_total"] == alone["layers"]["0"]["targets"]["2"]["u2z"]["l2_total"]
    heads = len(layer["targets"]["2"]["z2u"]["heads"])
    assert some["columns"] == {"fixed": matrix(every).shape[1] + heads + 1}
    assert some["converged"] is (not some["unconverged"])


def test_indices_are_numpys_and_repeated_and_the_device_is_torchs() -> None:
    result = asked(
        layers=np.array([1, 0, 1]),
        target_tokens=[np.int64(2), 2],
        target_head=np.int32(1),
        num_steps=np.int64(2),
        device=torch.device("cpu"),
        granularity="att",
    )
    assert list(result["layers"]) == ["1", "0"]
    assert list(result["layers"]["0"]["targets"]["2"]["z2u"]["heads"]) == ["1"]


def test_empty_lists_ask_for_none() -> None:
    assert asked(layers=[])["layers"] == {}
    without_targets = asked(target_tokens=[])
    assert without_targets["layers"]["0"]["targets"] == {}
    assert_close(matrix(without_targets), matrix(asked(granularity="layer")), 1e-12)
    without_maps = asked(granularity=[])
    assert (without_maps["layers"], without_maps["config"]["granularity"]) == ({"0": {"layer_idx": 0}}, [])
    assert without_maps["receipt"]["request"] is None


@pytest.mark.parametrize(
    ("name", "maps"),
    [("bert", [*ALL_MAPS]), ("mamba", ["layer"]), ("gpt_neox", ["att", "layer", "composed"])],
)
def test_all_is_all_that_the_model_has(name: str, maps: list[str]) -> None:
    result = asked(name, granularity="all")
    assert result["config"]["granularity"] == maps
    assert ("z2z" in result["layers"]["0"], "targets" in result["layers"]["0"]) == (True, "att" in maps)


def test_what_all_stands_for_is_refused_where_it_is_named_and_lacking() -> None:
    for error in (UnsupportedMap, NotImplementedError, ValueError):
        with pytest.raises(error, match="ask for granularity 'layer'"):
            asked("mamba", granularity="att")


@pytest.mark.parametrize(
    ("field", "paper", "own"),
    [
        ("baseline_att", "ITB", "self_input_token"),
        ("baseline_att", "ITB-mapRatio", "itb_map_ratio"),
        ("baseline_layer", "itb-zeroratio", "itb_zero_ratio"),
        ("baseline_layer", "Zero", "zero"),
        ("baseline_mlp", "ATTITBa=0", "att_itb_a0"),
    ],
)
def test_baselines_go_by_the_papers_names(field: str, paper: str, own: str) -> None:
    assert getattr(LIGConfig(**{field: paper}).request("a text"), field) == own


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"baseline_att": "self_output_token"}, "got 'self_output_token'"),
        ({"baseline_mlp": "itb_zero_ratio"}, "got 'itb_zero_ratio'"),
        ({"granularity": "heads"}, "got 'heads'"),
        ({"num_steps": 0}, "got 0"),
        ({"target_head": -1}, "got -1"),
        ({"layers": [-7]}, "got -7"),
    ],
)
def test_a_refusal_is_a_value_error_that_quotes_the_value(options: dict[str, Any], quoted: str) -> None:
    with pytest.raises(ValueError, match=quoted) as refused:
        asked(**options)
    assert isinstance(refused.value, InvalidRequest)


def test_errors_are_the_built_in_ones_that_theirs_are() -> None:
    assert issubclass(UnsupportedModel, ValueError)
    assert issubclass(UnsupportedModel, NotImplementedError)
    assert all(issubclass(error, LigError) for error in (UnsupportedModel, UnsupportedMap, ModelNotFound))


def test_the_document_as_text_and_the_maps_that_a_config_names() -> None:
    options = {"model": loaded("bert"), "layers": [0], "granularity": "layer", **RULE}
    text = explain_to_json("naïve", **options)
    assert json.loads(text) == explain("naïve", **options)
    assert "naïve" in text
    assert text.startswith('{\n  "')
    assert LIGConfig().resolved_granularity() == [*ALL_MAPS]
    assert LIGConfig(granularity="att").resolved_granularity() == ["att"]
    assert LIGConfig(granularity=["mlp", "att"]).resolved_granularity() == ["mlp", "att"]


def test_every_key_of_theirs_is_there() -> None:
    result = asked("gemma3_text", target_tokens=[1], u_node="heads")
    assert result["architecture"] == "decoder"
    boundaries = result["boundaries"]
    assert {name: boundaries[name] for name in ("z", "u", "z_next")} == boundaries["nodes"]
    assert boundaries["ig_ready"] is True
    assert all(boundaries["hook_points"].values())
    u2z = result["layers"]["0"]["targets"]["1"]["u2z"]
    heads, dimensions = u2z["head_shape"]
    assert heads * dimensions == u2z["input_width"] == len(u2z["contributions"])
    assert {"error", "mean_abs_error", "max_abs_error"} <= u2z["completeness"].keys()


def test_a_model_of_transformers_is_explained_as_it_is_and_stays_as_it_was() -> None:
    model = build(FAMILIES["gpt2"], "eager")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    held = load(model, tokenizer=tiny_tokenizer(), dtype="float64", device="cpu")
    result = explain(TEXT, model=held, granularity="layer", layers=[0], **RULE)
    assert_close(matrix(result), matrix(asked("gpt2", granularity="layer")), 1e-9)
    assert (result["config"]["dtype"], result["receipt"]["files"]) == ("float64", None)
    assert model.config._attn_implementation == "eager"
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    with pytest.raises(InvalidRequest, match="give its own"):
        load(model)
    with pytest.raises(InvalidRequest, match="got dict"):
        load({})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="load it with dtype='float64'"):
        single = load(model, tokenizer=tiny_tokenizer(), device="cpu")
        explain(TEXT, model=single, dtype="float64", layers=[0])


def test_their_library_in_the_same_environment_is_refused_by_name(tmp_path: Path) -> None:
    theirs = tmp_path / "layer_wise_integrated_gradients-0.1.0.dist-info"
    theirs.mkdir()
    (theirs / "METADATA").write_text("Metadata-Version: 2.1\nName: layer-wise-integrated-gradients\nVersion: 0.1.0\n")
    root = Path(lig.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    command = [sys.executable, "-c", "from lig import explain"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "ImportError: layer-wise-integrated-gradients is installed here, too, and its package is called `lig` as well; "
        "import from lig_core, or keep one of them: pip uninstall layer-wise-integrated-gradients, then "
        "pip install --force-reinstall --no-deps lig-service"
    )


def test_the_command_is_a_module_of_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    from lig.cli import main

    assert main(["--version"]) == 0
    assert capfd.readouterr().out.startswith("lig ")
    assert main(["explain", "Hi", "--model", "minilm", "--layers", "40"]) == 2
    assert "layer 40 asked" in capfd.readouterr().err


def test_a_text_is_read_as_after_a_space() -> None:
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    held = load(AutoModel.from_config(config), tokenizer=byte_level(), device="cpu")
    text = "Hello small world."
    how = {"model": held, "granularity": "layer", "num_steps": 2, "on_unconverged": "ignore"}
    plain, after_space = explain(text, **how), explain(text, prefix_space=True, **how)
    assert after_space["tokens"] == explain(f" {text}", **how)["tokens"] != plain["tokens"]
    assert "".join(text[start:end] for start, end in after_space["offsets"]) == text
    assert after_space["offsets"][0][0] == 0
    assert (after_space["text"], after_space["config"]["prefix_space"]) == (text, True)
    assert explain(f" {text}", prefix_space=True, **how)["tokens"] == after_space["tokens"]
    with pytest.raises(InvalidRequest, match="leave prefix_space out"):
        asked(prefix_space=True)
    for option in ({"prefix_space": True}, {"special_tokens": False}):
        with pytest.raises(InvalidRequest, match="tokens are given"):
            LIGConfig(**option).request(tokens=["a"])


def test_special_tokens_are_left_out_where_they_are_not_wanted(minilm: LoadedModel) -> None:
    how = {"model": minilm, "granularity": "layer", "layers": [0], "num_steps": 2, "on_unconverged": "ignore"}
    assert explain("The cat", **how)["tokens"] == ["[CLS]", "the", "cat", "[SEP]"]
    bare = explain("The cat", special_tokens=False, **how)
    assert (bare["tokens"], bare["config"]["special_tokens"]) == (["the", "cat"], False)
    request = parse_request({"text": "The cat", "model": "minilm", "special_tokens": False})
    assert TokenCounter().count(request, minilm.card).number == 2
