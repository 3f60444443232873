"""What is loaded, from where, in which precision; and what is refused."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from transformers import AutoModel, ViTConfig, XGLMConfig, XGLMModel

from lig_core import explain
from lig_core.contract import parse_request
from lig_core.errors import InvalidRequest, LigError, ModelNotFound, UnsupportedMap, UnsupportedModel
from lig_core.loading.describe import describe_boundaries
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.method import run
from lig_core.models.catalog import find_model, read_card
from lig_core.models.identity import model_identity
from lig_core.models.references import ModelReference
from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.checkpoints import saved
from tests.models.tiny_models import FAMILIES, USUAL, tiny_tokenizer
from tests.support.closeness import assert_close

TEXT = "the quick cat sat on the mat"


def load(folder: Path, **options: Any) -> LoadedModel:
    return load_model(find_model(str(folder)), device="cpu", **options)


@pytest.mark.parametrize("name", ["bert", "falcon", "gptj", "mpnet", "t5", "bart", "gemma3", "deberta-v2"])
def test_every_map_of_a_saved_model_converges_on_the_factored_engine(name: str, tmp_path: Path) -> None:
    u = "heads" if FAMILIES[name].parallel else "residual"
    folder = str(saved(tmp_path, name))
    result = explain(TEXT, model=folder, layers=[1], u_node=u, rtol=1e-2, labels=False, device="cpu")
    assert result["layers"]["1"]["z2z"]["certificate"]["engine"].startswith("factored/")
    keys = {"layer_idx", "replay_error", "z2z", "composed", "targets"}
    assert set(result["layers"]["1"]) - {"visible"} == keys
    assert result["tokens"] == TEXT.split()


def test_a_model_without_attention_gives_layer_maps_and_says_why_no_more(tmp_path: Path) -> None:
    folder = str(saved(tmp_path, "mamba"))
    result = explain(TEXT, model=folder, granularity="layer", layers=[1], rtol=1e-2, device="cpu")
    assert result["layers"]["1"]["z2z"]["certificate"]["engine"] == "dense"
    with pytest.raises(UnsupportedMap, match="MambaBlock has no attention"):
        explain(TEXT, model=folder, granularity="att", layers=[1], device="cpu")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_checkpoint_is_computed_in_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    loaded = load(saved(tmp_path, "llama", dtype))
    assert loaded.dtype == torch.float32
    stored = load_file(tmp_path / "model.safetensors")
    for name, parameter in loaded.model.named_parameters():
        assert parameter.dtype == torch.float32
        assert stored[name].dtype == dtype
        assert torch.equal(parameter, stored[name].float())
    result = run(parse_request({"text": TEXT, "granularity": "layer", "layers": [0], "num_steps": 2}), loaded)
    receipt = result["receipt"]
    assert (receipt["checkpoint_dtype"], receipt["dtype"]) == (str(dtype).removeprefix("torch."), "float32")


def xglm(folder: Path) -> Path:
    config = XGLMConfig(vocab_size=99, d_model=32, num_layers=2, attention_heads=4, ffn_dim=48)
    XGLMModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_a_model_that_checks_shapes_itself_is_taken_apart(tmp_path: Path) -> None:
    """XGLM compares its mask's shape with the batch's."""
    found = load(xglm(tmp_path))
    assert all(facts.wiring is not None and facts.laws is not None for facts in found.facts)


def test_what_fails_in_float64_says_why(tmp_path: Path) -> None:
    """XGLM's own code makes a number there that float32 lacks."""
    xglm(tmp_path)
    with pytest.raises(UnsupportedModel, match=r"without overflow\).*try the other dtype"):
        load(tmp_path, dtype="float64")


def test_a_bfloat16_checkpoint_gives_the_maps_of_its_numbers(tmp_path: Path) -> None:
    half, whole = saved(tmp_path / "half", "llama", torch.bfloat16), saved(tmp_path / "whole", "llama")
    stored = {name: x.float() for name, x in load_file(half / "model.safetensors").items()}
    save_file(stored, whole / "model.safetensors", {"format": "pt"})
    asked = {"granularity": "layer", "layers": [1], "num_steps": 4, "device": "cpu", "on_unconverged": "ignore"}
    found, expected = (explain(TEXT, model=str(folder), **asked)["layers"]["1"]["z2z"] for folder in (half, whole))
    assert_close(found["matrix"], expected["matrix"], 1e-4)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_routed_experts_are_computed_in_float64_where_it_is_asked_for(name: str, tmp_path: Path) -> None:
    folder = str(saved(tmp_path, name))
    result = explain(
        TEXT,
        model=folder,
        layers=[1],
        rtol=1e-2,
        labels=False,
        device="cpu",
        dtype="float64",
        on_unconverged="ignore",  # which expert a token goes to is a jump
    )
    assert result["layers"]["1"]["z2z"]["certificate"]["engine"].startswith("factored/")


def test_an_encoders_checkpoint_needs_no_decoder(tmp_path: Path) -> None:
    saved(tmp_path, "t5")
    weights = load_file(tmp_path / "model.safetensors")
    alone = {name: x for name, x in weights.items() if not name.startswith("decoder.")}
    assert len(alone) < len(weights)
    save_file(alone, tmp_path / "model.safetensors", {"format": "pt"})
    assert load(tmp_path).num_layers == 3


@pytest.mark.parametrize("name", ["bert", "t5", "mamba"])
def test_a_model_without_a_tokenizer_is_refused(name: str, tmp_path: Path) -> None:
    """transformers makes one up to which every word is unknown: exact maps of a text that nobody wrote."""
    saved(tmp_path, name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / file).unlink()
    with pytest.raises(UnsupportedModel, match="comes without a tokenizer"):
        load(tmp_path)


def test_a_model_of_pictures_is_refused_in_words(tmp_path: Path) -> None:
    sizes = {name: USUAL[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")}
    AutoModel.from_config(ViTConfig(**sizes, intermediate_size=48, image_size=28)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="ViTModel could not be run on a sentence"):
        load(tmp_path)


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path) -> None:
    saved(tmp_path, "bert")
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "planted", "auto_map": {"AutoConfig": "planted.C", "AutoModel": "planted.M"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "planted.py").write_text("raise SystemExit('planted code ran')")
    with pytest.raises(UnsupportedModel, match="never run here"):
        load(tmp_path)


def test_a_result_from_a_folder_says_which_files_it_came_from(tmp_path: Path) -> None:
    def receipt() -> dict[str, Any]:
        found = explain("cat", model=str(folder), granularity="layer", layers=[0], rtol=1e-2, device="cpu")
        return found["receipt"]  # type: ignore[no-any-return]

    folder = saved(tmp_path, "bert")
    before = receipt()
    assert before["revision"] is None
    assert before["files"] == receipt()["files"] == model_identity(find_model(str(folder)))
    weights = load_file(folder / "model.safetensors")
    save_file({name: 0.99 * x for name, x in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    assert receipt()["files"] not in {before["files"], None}


def test_a_revision_chooses_among_the_models_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of the local cache of the hub, laid out as huggingface_hub lays it out."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    models = {"main": ("a" * 40, "bert"), "v1.2": ("b" * 40, "gpt2")}
    repo = tmp_path / "models--somebody--something"
    (repo / "refs").mkdir(parents=True)
    for revision, (commit, name) in models.items():
        saved(repo / "snapshots" / commit, name)
        (repo / "refs" / revision).write_text(commit)
    for asked, revision in {"": "main", "@main": "main", "@v1.2": "v1.2", "@" + "b" * 40: "v1.2"}.items():
        card = find_model(f"somebody/something{asked}")
        commit, name = models[revision]
        assert card.model_type == name
        found = load_model(card, device="cpu")
        assert (found.model.config.model_type, found.revision, found.files) == (name, commit, None)
    with pytest.raises(ModelNotFound):
        load_model(find_model("somebody/something@v3"), device="cpu")


def test_a_model_of_the_hub_is_not_taken_from_a_folder_of_that_name_nor_a_folder_from_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repo = tmp_path / "hub" / "models--shelf--tiny"
    saved(repo / "snapshots" / ("a" * 40), "gpt2")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("a" * 40)
    saved(tmp_path / "here" / "shelf" / "tiny", "bert")
    monkeypatch.chdir(tmp_path / "here")
    there = load_model(read_card(ModelReference("hub", "shelf/tiny")), device="cpu")
    assert (there.model.config.model_type, there.revision, there.files) == ("gpt2", "a" * 40, None)
    for name in ("shelf/tiny", "./shelf/tiny", "shelf//tiny/"):
        found = explain("the cat", model=name, granularity="layer", layers=[0], num_steps=1, device="cpu")
        assert (found["model_type"], found["model"], found["receipt"]["model"]) == ("bert", *2 * ["./shelf/tiny"])
    assert describe_boundaries("shelf/tiny")["model_type"] == "bert"
    assert describe_boundaries("shelf/tiny@main")["model_type"] == "gpt2"


def test_spreading_over_devices_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *of: None if name == "accelerate" else known(name, *of)
    )
    with pytest.raises(InvalidRequest, match=r"lig-service\[large\]"):
        load_model(find_model(str(saved(tmp_path, "bert"))), device="auto")


def test_a_text_that_is_too_long_is_refused_not_cut(tmp_path: Path) -> None:
    folder = saved(tmp_path, "roberta")
    with pytest.raises(LigError, match="takes at most 63"):  # 64 positions, the first one is the padding's
        explain("cat " * 64, model=str(folder), granularity="layer", device="cpu")
    explain("cat " * 63, model=str(folder), granularity="layer", layers=[0], target_tokens=[62], device="cpu")
