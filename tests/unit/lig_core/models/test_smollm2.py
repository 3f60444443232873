"""smollm2, the bundled decoder, with its real weights: converted exactly, described, explained exactly."""

import json

import numpy as np
import pytest
import torch
from gguf import GGUFReader
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModel
from typer.testing import CliRunner

from generate.smollm2 import documents
from lig_core import explain
from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.blocks.block import Block
from lig_core.blocks.capture import capture_blocks
from lig_core.blocks.precision import working_precision
from lig_core.cli import app
from lig_core.contract import ExplainRequest
from lig_core.loading.inspection import inspect_layer
from lig_core.loading.loaded import load_model
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.models.bundled.conversion import OF_A_BLOCK, OF_THE_MODEL, WEIGHTS
from lig_core.models.bundled.packages import BUNDLED, bundled_folder, installed_folder
from lig_core.models.catalog import check_against_model, files_here, find_model, installed_models
from lig_core.models.identity import model_identity
from lig_core.quadrature import GaussLegendre
from service.settings import Settings
from service.submit.checks import RequestChecks
from service.submit.tokens import TokenCounter
from tests.models.brute_force import TinyTruth, gauss
from tests.support.closeness import assert_close

pytestmark = pytest.mark.smollm2

TEXT = "The capital of France is Paris"
TARGETS = [0, 3, 5]
NODES, TIGHT = 2, 1e-7
"""At these nodes the zero path is past where its norms let anything change: what is left are differences of numbers
thousands of times as large."""
HEADS = 9
TOKENIZER = str(bundled_folder("smollm2") / "tokenizer.json")


@pytest.fixture(scope="module")
def reader():
    conversion = BUNDLED["smollm2"].conversion
    return GGUFReader(installed_folder("smollm2") / conversion.source)


def test_config_and_tokenizer_say_what_the_file_says(reader):
    for name, text in documents(reader).items():
        assert (bundled_folder("smollm2") / name).read_text(encoding="utf-8") == text, name


def dequantised(tensor):
    """By the formats' definitions: blocks of 32 numbers; Q4_1 d·q + m, Q8_0 d·q, with d and m in half precision."""
    columns, rows = tensor.shape[0], -1 if len(tensor.shape) > 1 else 1
    if tensor.tensor_type.name == "F32":
        return np.asarray(tensor.data)
    raw = np.ascontiguousarray(tensor.data).reshape(-1, {"Q4_1": 20, "Q8_0": 34}[tensor.tensor_type.name])
    d = raw[:, :2].copy().view(np.float16).astype(np.float32)
    if tensor.tensor_type.name == "Q8_0":
        return (d * raw[:, 2:].view(np.int8)).reshape(rows, columns)
    m = raw[:, 2:4].copy().view(np.float16).astype(np.float32)
    q = np.concatenate([raw[:, 4:] & 15, raw[:, 4:] >> 4], axis=1).astype(np.float32)
    return (d * q + m).reshape(rows, columns)


def test_every_tensor_is_the_dequantised_one(reader):
    heads = {"attn_q": 9, "attn_k": 3}
    with safe_open(files_here(find_model("smollm2")) / WEIGHTS, framework="numpy") as opened:
        assert len(opened.keys()) == len(reader.tensors) == 272
        for tensor in reader.tensors:
            expected = dequantised(tensor)
            if tensor.name in OF_THE_MODEL:
                name = OF_THE_MODEL[tensor.name]
            else:
                _, layer, part, _ = tensor.name.split(".")
                name = f"model.layers.{layer}.{OF_A_BLOCK[part]}.weight"
                if part in heads:
                    each = np.split(expected, heads[part])
                    expected = np.concatenate([rows for head in each for rows in (head[0::2], head[1::2])])
            found = opened.get_tensor(name)
            assert found.dtype == np.float32 and np.array_equal(found, expected), name


def test_it_is_known_before_it_is_converted(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    card = find_model("smollm2")
    assert "smollm2" in [each.name for each in installed_models()]
    assert (card.model_type, card.num_layers, card.num_heads, card.positions) == ("llama", 30, 9, 8192)
    assert model_identity(card) == "0.1.2-1"
    check_against_model(ExplainRequest(text="x", model="smollm2", layers=[29]), card)
    cost = RequestChecks(Settings(), TokenCounter()).check(ExplainRequest(text="In 1879", model="smollm2"))
    assert (cost.tokens, cost.tokens_exact, cost.layers) == (6, True, 30)
    assert not (tmp_path / "assets").exists()


@pytest.fixture(scope="module")
def models():
    """Plugged and plain, in float64."""
    register()
    where, wanted = files_here(find_model("smollm2")), {"dtype": torch.float64, "use_cache": False}
    with working_precision(torch.float64):  # rotary frequencies are made in float32 else
        made = [
            AutoModel.from_pretrained(where, attn_implementation=how, **wanted) for how in (IMPLEMENTATION, "eager")
        ]
    return [model.eval().requires_grad_(False) for model in made]


@pytest.mark.parametrize("layer", [0, 12, 29])
def test_a_layer_is_explained_exactly(layer, models):
    plugged, plain = models
    ids = {"input_ids": torch.tensor([Tokenizer.from_file(TOKENIZER).encode(TEXT).ids])}
    assert ids["input_ids"].shape == (1, 6)
    with working_precision(torch.float64):
        call = capture_blocks(plugged, ids)[0][layer]
        facts = inspect_layer(call)
        assert facts.wiring is not None and facts.laws is not None
        block = Block.open(call, facts.wiring)
        maps = SplitBlockIntegrator(block, facts.laws, torch.tensor(TARGETS), GaussLegendre(NODES))
        truth = TinyTruth("llama", layer, ids, plain)
        truth.targets = TARGETS
        rule = gauss(NODES)
        for baseline in ("zero", "self_input_token"):
            assert_close(maps.layer(baseline).attribution.values, truth.layer_map(baseline, *rule), TIGHT)
            assert_close(maps.att(baseline, range(HEADS)).values, truth.att_map(baseline, *rule), TIGHT)
        for baseline in ("zero", "att_itb_a0"):
            found = maps.mlp_from_residual(baseline, bypass=True).attribution.values
            assert_close(found, truth.mlp_map_residual(baseline, *rule), TIGHT)
            found = maps.mlp_from_heads(baseline).attribution.values
            assert_close(found, truth.mlp_map_heads(baseline, *rule), TIGHT)


def test_python_and_the_command_line_answer_alike(tmp_path, monkeypatch):
    loaded = load_model(find_model("smollm2"), device="cpu")  # once, for it takes a while
    for place in ("lig_core.method.kept_model", "lig_core.loading.loaded.load_model"):
        monkeypatch.setattr(place, lambda *args, **more: loaded)
    result = explain("The cat", model="smollm2", device="cpu", granularity="layer", layers=[7])
    assert result["tokens"] == ["The", "Ġcat"] and result["converged"]
    assert result["receipt"]["revision"] == "0.1.2-1"
    assert result["receipt"]["dequantised"] == "GGUF: Q4_1, embeddings Q8_0"
    file = tmp_path / "result.json"
    command = ["explain", "The cat", "--model", "smollm2", "--granularity", "layer", "--layers", "7", "-o", str(file)]
    assert CliRunner().invoke(app, command).exit_code == 0
    written = json.loads(file.read_text())
    assert written["receipt"] == result["receipt"]
    maps = [np.array(document["layers"]["7"]["z2z"]["matrix"]) for document in (written, result)]
    assert_close(*maps, 1e-4)
