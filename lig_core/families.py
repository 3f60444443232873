"""What is known of a family before any weights are loaded: a table, nothing else.

Nothing is computed from it: a loaded model is introspected (blocks.introspect), whatever its family. The
table answers `describe_boundaries(model, load_weights=False)`, and a family that is missing here still runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Norms = Literal["post", "pre", "sandwich", "reordered", "parallel"]
Architecture = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Family:
    """How the blocks of a family are wired.

    post      attention, add, norm; MLP, add, norm
    pre       norm, attention, add; norm, MLP, add
    sandwich  a norm before and after each half, then add
    reordered attention, norm, add; MLP, norm, add
    parallel  attention and MLP side by side on the same input
    """

    norms: Norms
    architecture: Architecture


POST_ENCODER = Family("post", "encoder")
PRE_ENCODER = Family("pre", "encoder")
PRE_DECODER = Family("pre", "decoder")
SANDWICH_DECODER = Family("sandwich", "decoder")
REORDERED_DECODER = Family("reordered", "decoder")
PARALLEL_DECODER = Family("parallel", "decoder")

FAMILIES: dict[str, Family] = {
    "bert": POST_ENCODER,
    "roberta": POST_ENCODER,
    "xlm-roberta": POST_ENCODER,
    "camembert": POST_ENCODER,
    "electra": POST_ENCODER,
    "albert": POST_ENCODER,
    "distilbert": POST_ENCODER,
    "modernbert": PRE_ENCODER,
    "t5": PRE_ENCODER,
    "gpt2": PRE_DECODER,
    "opt": PRE_DECODER,
    "llama": PRE_DECODER,
    "mistral": PRE_DECODER,
    "mixtral": PRE_DECODER,
    "qwen2": PRE_DECODER,
    "qwen3": PRE_DECODER,
    "gemma": PRE_DECODER,
    "phi3": PRE_DECODER,
    "gemma2": SANDWICH_DECODER,
    "gemma3_text": SANDWICH_DECODER,
    "olmo2": REORDERED_DECODER,
    "gpt_neox": PARALLEL_DECODER,
}
