"""The families of models, as they are known before any weights are loaded: a table, nothing else.

Nothing is computed from it: a loaded model is introspected (blocks.introspect), whatever its family. The
table answers `describe_boundaries(model, load_weights=False)`, and a family that is missing here still runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lig_core.contract import Norms

Architecture = Literal["encoder", "decoder"]
Attention = Literal["pluggable", "tapped", "pairwise", "none"]

Variant = tuple[str, object, Norms]
"""A config key, a value of it, and how the blocks are wired when it has that value."""


@dataclass(frozen=True)
class Family:
    """The wiring of a family's blocks; the first of `variants` that the config fulfils goes before `norms`.

    post       attention, add, norm; MLP, add, norm
    pre        norm, attention, add; norm, MLP, add
    sandwich   a norm before and after each half, then add
    reordered  a norm after each half, then add
    parallel   attention and MLP side by side on the same input
    none       no attention

    attention  pluggable: through the attention interface; tapped: found at its softmax; pairwise: found at its
               softmax, with logits that are no product of queries and keys; none
    """

    norms: Norms
    architecture: Architecture
    attention: Attention = "pluggable"
    variants: tuple[Variant, ...] = ()

    def wired(self, config: Mapping[str, Any]) -> Norms:
        """The wiring of the blocks of a model with this config."""
        return next((norms for key, value, norms in self.variants if config.get(key) == value), self.norms)


FAMILIES: dict[str, Family] = {
    "albert": Family("post", "encoder"),
    "bert": Family("post", "encoder"),
    "bloom": Family("pre", "decoder", "tapped"),
    "camembert": Family("post", "encoder"),
    "deberta": Family("post", "encoder", "pairwise"),
    "deberta-v2": Family("post", "encoder", "pairwise"),
    "distilbert": Family("post", "encoder"),
    "electra": Family("post", "encoder"),
    "falcon": Family(
        "parallel",
        "decoder",
        "tapped",
        (("new_decoder_architecture", True, "parallel"), ("parallel_attn", False, "pre")),
    ),
    "gemma": Family("pre", "decoder"),
    "gemma2": Family("sandwich", "decoder"),
    "gemma3": Family("sandwich", "decoder"),
    "gemma3_text": Family("sandwich", "decoder"),
    "gpt2": Family("pre", "decoder"),
    "gpt_neox": Family("parallel", "decoder", variants=(("use_parallel_residual", False, "pre"),)),
    "gpt_oss": Family("pre", "decoder"),
    "gptj": Family("parallel", "decoder", "tapped"),
    "llama": Family("pre", "decoder"),
    "mamba": Family("none", "decoder", "none"),
    "mistral": Family("pre", "decoder"),
    "mixtral": Family("pre", "decoder"),
    "modernbert": Family("pre", "encoder"),
    "mpnet": Family("post", "encoder", "tapped"),
    "olmo2": Family("reordered", "decoder"),
    "opt": Family("pre", "decoder", variants=(("do_layer_norm_before", False, "post"),)),
    "phi3": Family("pre", "decoder"),
    "qwen2": Family("pre", "decoder"),
    "qwen3": Family("pre", "decoder"),
    "qwen3_moe": Family("pre", "decoder"),
    "roberta": Family("post", "encoder"),
    "smollm3": Family("pre", "decoder"),
    "switch_transformers": Family("pre", "encoder"),
    "t5": Family("pre", "encoder"),
    "xlm-roberta": Family("post", "encoder"),
}

AFTER_PADDING = frozenset(
    {
        "camembert",
        "data2vec-text",
        "esm",
        "longformer",
        "luke",
        "markuplm",
        "mpnet",
        "roberta",
        "roberta-prelayernorm",
        "xlm-roberta",
        "xlm-roberta-xl",
        "xmod",
    }
)
"""Model types that number positions from the padding index on, where these are absolute: RoBERTa and its kin."""

USUAL_PADDING = 1
"""Their padding index where the config does not say; MPNet's whatever it says."""
OTHER_PADDING = {"markuplm": 0}


def first_position(config: Mapping[str, Any]) -> int:
    """The position of a text's first token, which is how many of the positions a text cannot have."""
    model_type, padding = str(config.get("model_type")), config.get("pad_token_id")
    if model_type not in AFTER_PADDING or config.get("position_embedding_type") not in ("absolute", None):
        return 0
    own = OTHER_PADDING.get(model_type, USUAL_PADDING)
    return 1 + (padding if isinstance(padding, int) and model_type != "mpnet" else own)
