"""More tiny models, one row a family: what `test_families` runs through. See `tiny_models` for what a row says."""

from __future__ import annotations

from typing import Any

from tiny_models import (
    EPS,
    FAMILIES,
    HEADS,
    HIDDEN,
    LAYERS,
    ROTARY_GROUPED,
    USUAL,
    VOCABULARY,
    Family,
)
from torch import Tensor
from transformers import (
    AlbertConfig,
    CamembertConfig,
    ElectraConfig,
    Gemma3Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPTNeoXConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
    RobertaConfig,
    SiglipVisionConfig,
    SwitchTransformersConfig,
    T5Config,
    XLMRobertaConfig,
)

T5_USUAL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": HIDDEN,
    "d_kv": 8,
    "d_ff": 48,
    "num_layers": LAYERS,
    "num_heads": HEADS,
    "layer_norm_epsilon": EPS,
    "pad_token_id": 0,
    "decoder_start_token_id": 0,
}
GEMMA3: dict[str, Any] = {**ROTARY_GROUPED, "query_pre_attn_scalar": 8, "sliding_window": 3, "attention_bias": True}


def _like_bert(name: str, config: PreTrainedConfig, **more: Any) -> Family:
    return Family(
        name,
        config,
        "attention.output.dense",
        lambda layer, o, z: layer.attention.output(o, z),
        lambda layer, u: layer.output.dense(layer.intermediate(u)),
        lambda layer, x: layer.output.LayerNorm(x),
        layers="encoder.layer",
        causal=False,
        holds="output",
        **more,
    )


def _like_llama(name: str, config: PreTrainedConfig, **more: Any) -> Family:
    return Family(
        name,
        config,
        "self_attn.o_proj",
        lambda layer, o, z: z + layer.self_attn.o_proj(o),
        lambda layer, u: layer.mlp(layer.post_attention_layernorm(u)),
        **more,
    )


def _like_gemma3(name: str, config: PreTrainedConfig, **more: Any) -> Family:
    return Family(
        name,
        config,
        "self_attn.o_proj",
        lambda layer, o, z: z + layer.post_attention_layernorm(layer.self_attn.o_proj(o)),
        lambda layer, u: layer.post_feedforward_layernorm(layer.mlp(layer.pre_feedforward_layernorm(u))),
        **more,
    )


def _like_t5(name: str, config: PreTrainedConfig, mlp: str) -> Family:
    def second_half(layer: Any, u: Tensor) -> Tensor:
        out: Tensor = getattr(layer.layer[1], mlp)(layer.layer[1].layer_norm(u))
        return out

    return Family(
        name,
        config,
        "layer.0.SelfAttention.o",
        lambda layer, o, z: z + layer.layer[0].SelfAttention.o(o),
        second_half,
        layers="block",
        causal=False,
        holds="output",
    )


def _switch(name: str, *, capacity: int) -> Family:
    sparse = {"num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1, "num_experts": 4}
    return _like_t5(name, SwitchTransformersConfig(**T5_USUAL, **sparse, expert_capacity=capacity), "mlp")


def _albert_stream(layer: Any, o: Tensor, z: Tensor) -> Tensor:
    attention = layer.albert_layers[0].attention
    u: Tensor = attention.LayerNorm(z + attention.dense(o))
    return u


def _albert_mlp(layer: Any, u: Tensor) -> Tensor:
    out: Tensor = layer.albert_layers[0].ff_chunk(u)
    return out


PLUGGABLE = (
    _like_bert("roberta", RobertaConfig(**USUAL)),
    _like_bert("xlm-roberta", XLMRobertaConfig(**USUAL)),
    _like_bert("camembert", CamembertConfig(**USUAL)),
    _like_bert("electra", ElectraConfig(**USUAL, embedding_size=16)),
    Family(
        "albert",
        AlbertConfig(**USUAL, embedding_size=16, num_hidden_groups=1, inner_group_num=1),
        "albert_layers.0.attention.dense",
        _albert_stream,
        _albert_mlp,
        lambda layer, x: layer.albert_layers[0].full_layer_layer_norm(x),
        layers="encoder.albert_layer_groups",
        causal=False,
        holds="output",
        shared=True,
    ),
    Family(
        "gpt_neox_sequential",
        GPTNeoXConfig(**USUAL, use_parallel_residual=False, layer_norm_eps=EPS, rotary_pct=0.25),
        "attention.dense",
        lambda layer, o, z: z + layer.attention.dense(o),
        lambda layer, u: layer.mlp(layer.post_attention_layernorm(u)),
    ),
    _like_llama("mistral", MistralConfig(**ROTARY_GROUPED, sliding_window=3)),
    _like_llama("qwen2", Qwen2Config(**{**ROTARY_GROUPED, "use_sliding_window": False})),
    _like_llama("gemma", GemmaConfig(**ROTARY_GROUPED, attention_bias=True)),
    _like_gemma3("gemma3_text", Gemma3TextConfig(**GEMMA3)),
    _like_gemma3(
        "gemma3",
        Gemma3Config(
            text_config=Gemma3TextConfig(**GEMMA3),
            vision_config=SiglipVisionConfig(
                hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28
            ),
            mm_tokens_per_image=4,
            image_token_index=98,
            boi_token_index=97,
            eoi_token_index=96,
        ),
        layers="language_model.layers",
    ),
    _like_t5("t5", T5Config(**T5_USUAL), "DenseReluDense"),
    _like_t5("t5_gated", T5Config(**T5_USUAL, feed_forward_proj="gated-gelu"), "DenseReluDense"),
    _switch("switch_transformers", capacity=64),
)
CROWDED = _switch("switch_crowded", capacity=20)
"""Its experts have room for the words of the sentence that models are inspected on, not for a long text."""

FAMILIES.update({family.name: family for family in (*PLUGGABLE, CROWDED)})
