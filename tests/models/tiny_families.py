"""More tiny models, one row a family: what `test_families` runs through. See `tiny_models` for what a row says."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import (
    AlbertConfig,
    AutoConfig,
    BartConfig,
    BloomConfig,
    FalconConfig,
    GPTJConfig,
    GPTNeoXConfig,
    Llama4TextConfig,
    MambaConfig,
    MPNetConfig,
    OpenAIGPTConfig,
    PhiConfig,
    PreTrainedConfig,
    StableLmConfig,
    SwitchTransformersConfig,
    T5Config,
)

from tests.models.tiny_models import (
    EPS,
    FAMILIES,
    HEADS,
    HIDDEN,
    LAYERS,
    POSITIONS,
    ROTARY_GROUPED,
    TOKENS,
    USUAL,
    VOCABULARY,
    Family,
    llama_mlp,
    llama_stream,
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


def _like_bert(model_type: str, settings: dict[str, Any], name: str = "", **more: Any) -> Family:
    return Family(
        name or model_type,
        AutoConfig.for_model(model_type, **settings),
        "attention.output.dense",
        lambda layer, o, z: layer.attention.output(o, z),
        lambda layer, u: layer.output.dense(layer.intermediate(u)),
        lambda layer, x: layer.output.LayerNorm(x),
        layers="encoder.layer",
        causal=False,
        holds="output",
        **more,
    )


def _like_llama(model_type: str, settings: dict[str, Any], name: str = "", **more: Any) -> Family:
    return Family(
        name or model_type,
        AutoConfig.for_model(model_type, **settings),
        "self_attn.o_proj",
        llama_stream,
        llama_mlp,
        **more,
    )


def _like_gemma3(model_type: str, settings: dict[str, Any], name: str = "", **more: Any) -> Family:
    return Family(
        name or model_type,
        AutoConfig.for_model(model_type, **settings),
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
    _like_bert("roberta", USUAL),
    _like_bert("xlm-roberta", USUAL),
    _like_bert("camembert", USUAL),
    _like_bert("electra", {**USUAL, "embedding_size": 16}),
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
    _like_llama("mistral", {**ROTARY_GROUPED, "sliding_window": 3}),
    _like_llama("qwen2", {**ROTARY_GROUPED, "use_sliding_window": False}),
    _like_llama("qwen3_moe", {**ROTARY_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    _like_llama("gemma", {**ROTARY_GROUPED, "attention_bias": True}),
    _like_llama("smollm3", {**ROTARY_GROUPED, "no_rope_layer_interval": 2}),
    _like_gemma3("gemma3_text", GEMMA3),
    _like_gemma3(
        "gemma3",
        {
            "text_config": GEMMA3,
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 28,
            },
            "mm_tokens_per_image": 4,
            "image_token_index": 98,
            "boi_token_index": 97,
            "eoi_token_index": 96,
        },
        layers="language_model.layers",
    ),
    _like_t5("t5", T5Config(**T5_USUAL), "DenseReluDense"),
    _like_t5("t5_gated", T5Config(**T5_USUAL, feed_forward_proj="gated-gelu"), "DenseReluDense"),
    _switch("switch_transformers", capacity=64),
)


def _falcon(name: str, norm: str, *, parallel: bool = True, **settings: Any) -> Family:
    config = FalconConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_attention_heads=HEADS,
        num_hidden_layers=LAYERS,
        max_position_embeddings=POSITIONS,
        layer_norm_epsilon=EPS,
        **TOKENS,
        **settings,
    )
    return Family(
        name,
        config,
        "self_attention.dense",
        lambda layer, o, z: z + layer.self_attention.dense(o),
        lambda layer, u: layer.mlp(getattr(layer, norm)(u)),
        layers="h",
        holds=None if parallel else "output + z",
    )


def _bloom_mlp(layer: Any, u: Tensor) -> Tensor:
    mlp = layer.mlp
    out: Tensor = mlp.dense_4h_to_h(mlp.gelu_impl(mlp.dense_h_to_4h(layer.post_attention_layernorm(u))))
    return out


GPT_SIZES: dict[str, Any] = {"vocab_size": VOCABULARY, "layer_norm_epsilon": EPS, **TOKENS}

TAPPED = (
    Family(
        "mpnet",
        MPNetConfig(**USUAL),
        "attention.attn.o",
        lambda layer, o, z: layer.attention.LayerNorm(z + layer.attention.attn.o(o)),
        lambda layer, u: layer.output.dense(layer.intermediate(u)),
        lambda layer, x: layer.output.LayerNorm(x),
        layers="encoder.layer",
        causal=False,
        holds="output",
    ),
    _falcon("falcon", "input_layernorm"),
    _falcon(
        "falcon_alibi",
        "post_attention_layernorm",
        parallel=False,
        alibi=True,
        parallel_attn=False,
        multi_query=False,
        bias=True,
    ),
    _falcon("falcon_new", "ln_mlp", new_decoder_architecture=True, num_kv_heads=2),
    Family(
        "bloom",
        BloomConfig(**GPT_SIZES, hidden_size=HIDDEN, n_head=HEADS, n_layer=LAYERS),
        "self_attention.dense",
        lambda layer, o, z: z + layer.self_attention.dense(o),
        _bloom_mlp,
        layers="h",
        holds="output",
    ),
    Family(
        "gptj",
        GPTJConfig(**GPT_SIZES, n_embd=HIDDEN, n_head=HEADS, n_layer=LAYERS, n_positions=POSITIONS, rotary_dim=4),
        "attn.out_proj",
        lambda layer, o, z: z + layer.attn.out_proj(o),
        lambda layer, u: layer.mlp(layer.ln_1(u)),
        layers="h",
        holds=None,
    ),
)
RELATIVE: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "max_relative_positions": -1}

PAIRWISE = (
    _like_bert("deberta", {**USUAL, **RELATIVE}),
    _like_bert(
        "deberta-v2",
        {**USUAL, **RELATIVE, "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"},
    ),
    _like_bert("deberta-v2", {**USUAL, **RELATIVE}, "deberta-v2_own_keys"),
)


def _parallel(name: str, config: PreTrainedConfig, projection: str) -> Family:
    """Attention and MLP on the same normed input."""
    return Family(
        name,
        config,
        projection,
        lambda layer, o, z: z + layer.get_submodule(projection)(o),
        lambda layer, u: layer.mlp(layer.input_layernorm(u)),
        holds=None,
    )


NEOX_USUAL: dict[str, Any] = {**USUAL, "num_key_value_heads": 2, "layer_norm_eps": EPS}

INTROSPECTED = (
    _like_llama("starcoder2", {**USUAL, "num_key_value_heads": 2, "norm_epsilon": EPS}),
    _like_llama("granite", {**USUAL, "num_key_value_heads": 2, "rms_norm_eps": EPS}),
    _like_llama("stablelm", {**NEOX_USUAL, "use_parallel_residual": False}),
    _parallel("stablelm_parallel", StableLmConfig(**NEOX_USUAL, use_parallel_residual=True), "self_attn.o_proj"),
    _parallel("phi", PhiConfig(**USUAL, partial_rotary_factor=0.5, qk_layernorm=True), "self_attn.dense"),
    _like_llama("phimoe", {**NEOX_USUAL, "num_local_experts": 4}),
    _like_llama("olmo", {**USUAL, "num_key_value_heads": 2}),  # its norm does not say its ε
    Family(
        "olmo3",
        AutoConfig.for_model("olmo3", **{**USUAL, "num_key_value_heads": 2, "rms_norm_eps": EPS, "sliding_window": 3}),
        "self_attn.o_proj",
        lambda layer, o, z: z + layer.post_attention_layernorm(layer.self_attn.o_proj(o)),
        lambda layer, u: layer.post_feedforward_layernorm(layer.mlp(u)),
    ),
    Family(
        "llama4_text",
        Llama4TextConfig(**ROTARY_GROUPED, intermediate_size_mlp=48, num_local_experts=4),
        "self_attn.o_proj",
        llama_stream,
        lambda layer, u: layer.feed_forward(layer.post_attention_layernorm(u))[0].view(u.shape),
    ),
    Family(
        "openai-gpt",
        OpenAIGPTConfig(**GPT_SIZES, n_embd=HIDDEN, n_head=HEADS, n_layer=LAYERS, n_positions=POSITIONS),
        "attn.c_proj",
        lambda layer, o, z: layer.ln_1(z + layer.attn.c_proj(o)),
        lambda layer, u: layer.mlp(u),
        lambda layer, x: layer.ln_2(x),
        layers="h",
        holds="output",
    ),
    Family(
        "bart",
        BartConfig(
            vocab_size=VOCABULARY,
            d_model=HIDDEN,
            encoder_layers=LAYERS,
            decoder_layers=1,
            encoder_attention_heads=HEADS,
            decoder_attention_heads=HEADS,
            encoder_ffn_dim=48,
            decoder_ffn_dim=48,
            max_position_embeddings=POSITIONS,
            **TOKENS,
        ),
        "self_attn.out_proj",
        lambda layer, o, z: layer.self_attn_layer_norm(z + layer.self_attn.out_proj(o)),
        lambda layer, u: layer.fc2(layer.activation_fn(layer.fc1(u))),
        lambda layer, x: layer.final_layer_norm(x),
        layers="layers",
        causal=False,
        holds="output",
    ),
)
"""Model types that the product's table of families does not have."""

MAMBA = Family(
    "mamba",
    MambaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        state_size=4,
        intermediate_size=48,
        time_step_rank=4,
        layer_norm_epsilon=EPS,
        **TOKENS,
    ),
    "mixer.out_proj",
    lambda _layer, o, z: o + z,
    lambda _layer, u: u,
)
"""No attention; its halves are not asked for."""

CROWDED = _switch("switch_crowded", capacity=20)
"""Its experts have room for the words of the sentence that models are inspected on, not for a long text."""

UNKNOWN = ("cohere", *(family.name for family in INTROSPECTED))

FAMILIES.update({family.name: family for family in (*PLUGGABLE, *TAPPED, *PAIRWISE, *INTROSPECTED, MAMBA, CROWDED)})

DESCRIBED = [name for name in FAMILIES if name not in UNKNOWN]
