"""Folders as people have them: a right result, or a refusal that names the thing; in Python and on the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GptOssConfig, GptOssModel, MarianConfig, MarianModel, MarianMTModel
from transformers.integrations.mxfp4 import convert_moe_packed_tensors
from typer.testing import CliRunner

from lig_core import describe_boundaries, explain
from lig_core.cli import app
from lig_core.errors import UnsupportedModel
from lig_core.loading.loaded import load_model
from lig_core.models.catalog import find_model
from tests.models.checkpoints import REFUSED, SAME, WEIGHTS, saved
from tests.models.tiny_models import tiny_tokenizer

ASKED: dict[str, Any] = {
    "granularity": "layer",
    "layers": [1],
    "num_steps": 2,
    "device": "cpu",
    "labels": False,
    "on_unconverged": "ignore",
}


def matrix(folder: Path, **more: Any) -> Any:
    found = explain("the quick cat sat on the mat", model=str(folder), **{**ASKED, **more})
    return found["layers"]["1"]["z2z"]["matrix"]


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_whole_or_another_model_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    folder, case = saved(tmp_path, "bert"), REFUSED[kind]
    case.make(folder)
    with pytest.raises(UnsupportedModel, match=case.says) as caught:
        matrix(folder)
    assert "\n" not in caught.value.detail
    if case.shown:
        with pytest.raises(UnsupportedModel, match=case.says):
            describe_boundaries(str(folder))
    else:
        assert describe_boundaries(str(folder))["model_type"] == "bert"
    said = CliRunner().invoke(
        app, ["boundaries", str(folder)] if case.shown else ["explain", "cat", "--model", str(folder)]
    )
    assert said.exit_code == 2
    assert caught.value.detail in said.stderr
    assert said.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def unaltered(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return matrix(saved(tmp_path_factory.mktemp("bert"), "bert"))


@pytest.mark.parametrize("kind", SAME)
def test_what_does_not_matter_changes_no_number(kind: str, tmp_path: Path, unaltered: Any) -> None:
    SAME[kind](saved(tmp_path, "bert"))
    assert matrix(tmp_path) == unaltered


def test_positions_that_a_model_makes_itself_are_not_lacking(tmp_path: Path) -> None:
    """Marian's own save leaves them out."""
    config = MarianConfig(
        vocab_size=99,
        d_model=32,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        pad_token_id=0,
        decoder_start_token_id=0,
        forced_eos_token_id=2,
    )
    model = MarianMTModel(config)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert not [name for name in load_file(tmp_path / WEIGHTS) if "embed_positions" in name]
    found = load_model(find_model(str(tmp_path)), device="cpu").model.embed_positions.weight
    assert torch.equal(found, MarianModel(config).encoder.embed_positions.create_weight())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_four_bit_numbers_are_written_out_exactly_and_the_receipt_says_so(dtype: str, tmp_path: Path) -> None:
    """GPT-OSS is published in mxfp4: each number 4 bits times a power of two."""
    config = GptOssConfig(
        vocab_size=99,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=64,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        pad_token_id=0,
        eos_token_id=2,
    )
    packed, whole = tmp_path / "packed", tmp_path / "whole"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GptOssModel(config)
    for folder in (packed, whole):
        model.save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)
    four_bits, plain, generator = (
        load_file(packed / WEIGHTS),
        load_file(whole / WEIGHTS),
        torch.Generator().manual_seed(0),
    )
    for name in [name for name in plain if name.endswith(("gate_up_proj", "down_proj"))]:
        experts, rows, columns = four_bits.pop(name).shape
        blocks = torch.randint(256, (experts, columns, rows // 32, 16), generator=generator, dtype=torch.uint8)
        scales = torch.randint(120, 126, blocks.shape[:-1], generator=generator, dtype=torch.uint8)
        four_bits |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        plain[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32).contiguous()
    save_file(four_bits, packed / WEIGHTS, {"format": "pt"})
    save_file(plain, whole / WEIGHTS, {"format": "pt"})
    written = json.loads((packed / "config.json").read_text())
    kept = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    written["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": kept}
    (packed / "config.json").write_text(json.dumps(written))
    assert matrix(packed, dtype=dtype) == matrix(whole, dtype=dtype)
    receipts = [explain("cat", model=str(at), **ASKED)["receipt"]["dequantised"] for at in (packed, whole)]
    assert receipts == ["mxfp4", None]
    assert any("mxfp4" in note for note in describe_boundaries(str(packed))["notes"])
