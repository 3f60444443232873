"""Tiny random models of many families.

Every parameter is random, norms and biases too, so that nothing is trivially 0 or 1. The halves of a layer
(`stream` and `mlp`) are written out by hand per family, for `brute_force` to compute with.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    CohereConfig,
    DistilBertConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MixtralConfig,
    ModernBertConfig,
    Olmo2Config,
    OPTConfig,
    Phi3Config,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
    T5Config,
    T5EncoderModel,
)

from lig_core.blocks.attention import register
from lig_core.blocks.block import Block
from lig_core.blocks.capture import capture_blocks
from lig_core.blocks.introspect import find_tiling, find_wiring
from lig_core.blocks.laws import PathLaws, find_laws
from lig_core.blocks.precision import working_precision
from lig_core.loading.loaded import LoadedModel
from lig_core.models.catalog import ModelCard

torch.set_num_threads(1)  # tiny matrices: threads only wait for each other

VOCABULARY, HIDDEN, HEADS, LAYERS, POSITIONS = 99, 32, 4, 3, 64
IDS = (5, 17, 3, 42, 17, 88)
"""The text of most tests: six tokens, two of them equal."""

EPS = 1e-4
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
USUAL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    **TOKENS,
}
ROTARY_GROUPED = {**USUAL, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": EPS}

Norm = tuple[str, float | None]
"""Kind and ε of the norm before the attention."""


@dataclass(frozen=True)
class Family:
    """A tiny model, the halves of its layers written by hand, and what is true of its architecture.

    stream(layer, o, z)  u, the stream after attention, from the concatenated head outputs and z
    mlp(layer, u)        the MLP half without its residual connection
    joined(layer, x)     what follows the sum u + mlp(u)
    holds                whether a module's output is u, or u less z; None: attention and MLP run side by side
    shared               one module serves as every layer
    """

    name: str
    config: PreTrainedConfig
    output_projection: str
    stream: Callable[[Any, Tensor, Tensor], Tensor]
    mlp: Callable[[Any, Tensor], Tensor]
    joined: Callable[[Any, Tensor], Tensor] = lambda _layer, x: x
    layers: str = "layers"
    causal: bool = True
    holds: str | None = "output + z"
    norms: tuple[Norm, ...] = (("rms", EPS),) * LAYERS
    positions: tuple[str, str | None, int] = ("none", None, 0)  # kind, layout, dimensions
    key_norm: str | None = None  # "head" or "full"
    shared: bool = False

    @property
    def parallel(self) -> bool:
        return self.holds is None


def _opt(name: str, *, before: bool) -> Family:
    config = OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        ffn_dim=48,
        max_position_embeddings=POSITIONS,
        do_layer_norm_before=before,
        activation_function="gelu",
        **TOKENS,
    )

    def stream(layer: Any, o: Tensor, z: Tensor) -> Tensor:
        total: Tensor = z + layer.self_attn.out_proj(o)
        return total if before else layer.self_attn_layer_norm(total)

    def mlp(layer: Any, u: Tensor) -> Tensor:
        out: Tensor = layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(u) if before else u)))
        return out

    def joined(layer: Any, x: Tensor) -> Tensor:
        return x if before else layer.final_layer_norm(x)

    return Family(
        name,
        config,
        "self_attn.out_proj",
        stream,
        mlp,
        joined,
        layers="decoder.layers",
        holds="output + z" if before else "output",
        norms=(("layer", 1e-5) if before else ("none", None),) * LAYERS,
    )


def first(out: Any) -> Tensor:
    """What a module gives, or the first of what it gives."""
    found: Tensor = out if isinstance(out, Tensor) else out[0]
    return found


def llama_stream(layer: Any, o: Tensor, z: Tensor) -> Tensor:
    return z + layer.self_attn.o_proj(o)


def llama_mlp(layer: Any, u: Tensor) -> Tensor:
    return first(layer.mlp(layer.post_attention_layernorm(u)))  # experts may give more


ALL_FAMILIES = (
    Family(
        "bert",
        BertConfig(**USUAL, hidden_act="gelu"),
        "attention.output.dense",
        lambda layer, o, z: layer.attention.output(o, z),
        lambda layer, u: layer.output.dense(layer.intermediate(u)),
        lambda layer, x: layer.output.LayerNorm(x),
        layers="encoder.layer",
        causal=False,
        holds="output",
        norms=(("none", None),) * LAYERS,
    ),
    Family(
        "gpt2",
        GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=HIDDEN,
            n_layer=LAYERS,
            n_head=HEADS,
            n_positions=POSITIONS,
            layer_norm_epsilon=EPS,
            **TOKENS,
        ),
        "attn.c_proj",
        lambda layer, o, z: z + layer.attn.c_proj(o),
        lambda layer, u: layer.mlp(layer.ln_2(u)),
        layers="h",
        norms=(("layer", EPS),) * LAYERS,
    ),
    Family(
        "llama",
        LlamaConfig(**ROTARY_GROUPED, attention_bias=True, mlp_bias=True),
        "self_attn.o_proj",
        llama_stream,
        llama_mlp,
        positions=("rotary", "halves", 8),
    ),
    Family(
        "qwen3",
        Qwen3Config(**ROTARY_GROUPED, attention_bias=True),
        "self_attn.o_proj",
        llama_stream,
        llama_mlp,
        positions=("rotary", "halves", 8),
        key_norm="head",
    ),
    Family(
        "gemma2",
        Gemma2Config(
            **ROTARY_GROUPED,
            query_pre_attn_scalar=8,
            attn_logit_softcapping=5.0,
            sliding_window=3,
            attention_bias=True,
        ),
        "self_attn.o_proj",
        lambda layer, o, z: z + layer.post_attention_layernorm(layer.self_attn.o_proj(o)),
        lambda layer, u: layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(u))),
        positions=("rotary", "halves", 8),
    ),
    _opt("opt_post_norm", before=False),
    _opt("opt_pre_norm", before=True),
    Family(
        "gpt_neox",
        GPTNeoXConfig(**USUAL, use_parallel_residual=True, layer_norm_eps=EPS, rotary_pct=0.5),
        "attention.dense",
        lambda layer, o, z: z + layer.attention.dense(o),
        lambda layer, u: layer.mlp(layer.post_attention_layernorm(u)),
        holds=None,
        norms=(("layer", EPS),) * LAYERS,
        positions=("rotary", "halves", 4),
    ),
    Family(
        "cohere",
        CohereConfig(**USUAL, num_key_value_heads=2, layer_norm_eps=EPS, attention_bias=True),
        "self_attn.o_proj",
        lambda layer, o, z: z + layer.self_attn.o_proj(o),
        lambda layer, u: layer.mlp(layer.input_layernorm(u)),
        holds=None,
        norms=(("layer", EPS),) * LAYERS,
        positions=("rotary", "interleaved", 8),
    ),
    Family(
        "distilbert",
        DistilBertConfig(
            vocab_size=VOCABULARY,
            dim=HIDDEN,
            n_layers=LAYERS,
            n_heads=HEADS,
            hidden_dim=48,
            max_position_embeddings=POSITIONS,
            pad_token_id=0,
        ),
        "attention.out_lin",
        lambda layer, o, z: layer.sa_layer_norm(layer.attention.out_lin(o) + z),
        lambda layer, u: layer.ffn(u),
        lambda layer, x: layer.output_layer_norm(x),
        layers="transformer.layer",
        causal=False,
        holds="output",
        norms=(("none", None),) * LAYERS,
    ),
    Family(
        "modernbert",
        ModernBertConfig(
            **USUAL,
            global_attn_every_n_layers=3,
            local_attention=4,
            attention_bias=True,
            mlp_bias=True,
            norm_bias=True,
            norm_eps=EPS,
            cls_token_id=1,
            sep_token_id=2,
        ),
        "attn.Wo",
        lambda layer, o, z: z + layer.attn.Wo(o),
        lambda layer, u: layer.mlp(layer.mlp_norm(u)),
        causal=False,
        norms=(("none", None), ("layer", EPS), ("layer", EPS)),
        positions=("rotary", "halves", 8),
    ),
    Family(
        "olmo2",
        Olmo2Config(**{**USUAL, "num_key_value_heads": 2, "rms_norm_eps": EPS}, attention_bias=True),
        "self_attn.o_proj",
        lambda layer, o, z: z + layer.post_attention_layernorm(layer.self_attn.o_proj(o)),
        lambda layer, u: layer.post_feedforward_layernorm(layer.mlp(u)),
        norms=(("none", None),) * LAYERS,
        positions=("rotary", "halves", 8),
        key_norm="full",
    ),
    Family(
        "phi3",
        Phi3Config(**{**USUAL, "num_key_value_heads": 2, "rms_norm_eps": EPS}),
        "self_attn.o_proj",
        llama_stream,
        llama_mlp,
        positions=("rotary", "halves", 8),
    ),
    Family(
        "t5_encoder",
        T5Config(
            vocab_size=VOCABULARY,
            d_model=HIDDEN,
            d_kv=8,
            d_ff=48,
            num_layers=LAYERS,
            num_heads=HEADS,
            layer_norm_epsilon=EPS,
            pad_token_id=0,
        ),
        "layer.0.SelfAttention.o",
        lambda layer, o, z: z + layer.layer[0].SelfAttention.o(o),
        lambda layer, u: layer.layer[1].DenseReluDense(layer.layer[1].layer_norm(u)),
        layers="encoder.block",
        causal=False,
        holds="output",  # its attention half ends in a module that has added z already
    ),
    Family(
        "mixtral",
        MixtralConfig(**ROTARY_GROUPED, num_local_experts=4, num_experts_per_tok=2),
        "self_attn.o_proj",
        llama_stream,
        llama_mlp,
        positions=("rotary", "halves", 8),
    ),
    Family(
        "gpt_oss",
        GptOssConfig(
            **ROTARY_GROUPED,
            num_local_experts=4,
            num_experts_per_tok=2,
            sliding_window=3,
            rope_parameters={
                "rope_type": "yarn",
                "rope_theta": 10000.0,
                "factor": 32.0,
                "original_max_position_embeddings": POSITIONS // 32,
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "truncate": False,
            },
        ),
        "self_attn.o_proj",
        llama_stream,
        llama_mlp,
        positions=("rotary", "halves", 8),
    ),
)
FAMILIES = {family.name: family for family in ALL_FAMILIES}
CAUSAL = [family.name for family in ALL_FAMILIES if family.causal]


def build(family: Family, implementation: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """The family's model with random weights; the same weights at every call."""
    register()
    config = deepcopy(family.config)  # not from_dict(to_dict()): transformers 5.0 loses GPT-NeoX's rotary_pct there
    config._attn_implementation = implementation
    config._experts_implementation = "eager"  # the grouped kernels have no float64
    if implementation == "eager":
        # the truth calls a layer again; the code under test has to cope with a cache
        config.get_text_config().use_cache = False
    with torch.random.fork_rng(), working_precision(dtype):  # rotary frequencies are made here
        torch.manual_seed(0)
        make = T5EncoderModel if family.name == "t5_encoder" else AutoModel.from_config
        try:
            model = make(config)
        except KeyError:  # attention that cannot be plugged in
            config._attn_implementation = "eager"
            model = make(config)
        if family.name != "t5_encoder" and config.is_encoder_decoder:
            model = model.get_encoder()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.dim() == 1:  # norms and biases, around what they start from
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(1.2 * noise / parameter.shape[-1] ** 0.5)
    return model.to(dtype).eval().requires_grad_(False)


WORDS = "the quick brown fox jumped over lazy dogs twice and nobody minded at all a cat sat on mat In"


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per word: ids 4 and up are WORDS, then `w24`, `w25`, …; any other word is id 3."""
    words = ["<pad>", "<bos>", "<eos>", "<unk>", *WORDS.split()]
    words += [f"w{k}" for k in range(len(words), VOCABULARY)]
    tokenizer = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=POSITIONS,
        model_input_names=["input_ids", "attention_mask"],
    )


def pluggable(name: str, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A family's tiny model as the product readies it, always the same one; do not change its weights."""
    return loaded(name, dtype).model


@cache
def built(name: str, implementation: str, dtype: torch.dtype) -> nn.Module:
    """A family's tiny model with that attention, always the same one; do not change its weights."""
    return build(FAMILIES[name], implementation, dtype)


@cache
def loaded(name: str, dtype: torch.dtype = torch.float64) -> LoadedModel:
    """A family's tiny model as the product loads it."""
    family = FAMILIES[name]
    card = ModelCard(name, name, None, family.config.to_dict())
    return LoadedModel.of(card, built(name, "lig", dtype), tiny_tokenizer())


@dataclass(frozen=True)
class Opened:
    """A layer at a text, in the code under test."""

    block: Block
    laws: PathLaws | None


@cache
def opened(name: str, ids: tuple[int, ...] = IDS, dtype: torch.dtype = torch.float64) -> list[Opened]:
    """Every layer of a family's tiny model at one text, inspected at that text."""
    model = pluggable(name, dtype)
    with working_precision(dtype):
        (calls,) = capture_blocks(model, {"input_ids": torch.tensor([ids])})
        blocks = [Block.open(call, find_wiring(call, find_tiling(call))) for call in calls]
        return [Opened(block, find_laws(block)) for block in blocks]
