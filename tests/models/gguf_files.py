"""A tiny Llama as a GGUF file, written as llama.cpp's converter writes them, and what it has to be converted to."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import dequantize, quantize
from safetensors.numpy import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from lig_core.models.bundled.conversion import OF_A_BLOCK, OF_THE_MODEL, Conversion, digest_of

CONFIG = LlamaConfig(
    vocab_size=32,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
HEADS = {"q_proj": 4, "k_proj": 2}
NAMES = {other: name for name, other in OF_THE_MODEL.items()} | {
    f"model.layers.{layer}.{part}.weight": f"blk.{layer}.{name}.weight"
    for layer in range(2)
    for name, part in OF_A_BLOCK.items()
}


def tiny_llama(kind: GGMLQuantizationType = GGMLQuantizationType.Q4_1) -> LlamaForCausalLM:
    """Random weights, each a number that a quantisation of that kind holds exactly."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(CONFIG).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            stored = _interleaved(name, parameter.detach().numpy())
            exact = dequantize(quantize(stored, kind), kind)
            parameter.data = torch.from_numpy(_apart(name, exact).copy())
    return model


def write(model: LlamaForCausalLM, file: Path, kind: GGMLQuantizationType = GGMLQuantizationType.Q4_1) -> None:
    """The model as a GGUF file, its matrices quantised."""
    writer = GGUFWriter(file, "llama")
    writer.add_head_count(CONFIG.num_attention_heads)
    writer.add_head_count_kv(CONFIG.num_key_value_heads)
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if values.ndim == 2:
            writer.add_tensor(NAMES[name], quantize(_interleaved(name, values), kind), raw_dtype=kind)
        else:
            writer.add_tensor(NAMES[name], values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def conversion_of(model: LlamaForCausalLM, source: Path, folder: Path) -> Conversion:
    """The conversion of that file, which has to give the numbers of that model."""
    expected = folder / "expected.safetensors"
    save_file({name: parameter.detach().numpy() for name, parameter in model.named_parameters()}, expected)
    return Conversion(source.name, hashlib.sha256(source.read_bytes()).hexdigest(), digest_of(expected), "Q4_1")


def _heads(name: str) -> int | None:
    return next((heads for part, heads in HEADS.items() if part in name), None)


def _interleaved(name: str, values: np.ndarray) -> np.ndarray:
    """Rows of each head as (0, d/2, 1, d/2 + 1, …), for queries and keys."""
    heads = _heads(name)
    if heads is None:
        return values
    halves = values.reshape(heads, 2, -1, values.shape[1])
    return np.ascontiguousarray(np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(values.shape))


def _apart(name: str, values: np.ndarray) -> np.ndarray:
    heads = _heads(name)
    if heads is None:
        return values
    pairs = values.reshape(heads, -1, 2, values.shape[1])
    return np.concatenate([pairs[:, :, 0], pairs[:, :, 1]], axis=1).reshape(values.shape)
