"""A model's sizes, as its config gives them under the many names that families use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lig_core.models.architectures import text_part
from lig_core.models.catalog import ModelCard
from lig_core.models.families import FAMILIES

INNER_KEYS = ("intermediate_size", "n_inner", "d_ff", "ffn_dim", "encoder_ffn_dim", "hidden_dim", "ffn_hidden_size")
GROUP_KEYS = ("num_key_value_heads",)
HEAD_DIM_KEYS = ("head_dim", "d_kv")
EXPERT_KEYS = ("num_experts_per_tok", "experts_per_token")
GATED = ("silu", "swish")
GATED_FAMILIES = ("gemma", "modernbert", "phi3")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model's blocks."""

    layers: int
    hidden: int
    heads: int
    head_dim: int
    whole_block: bool  # its blocks do not split: plain automatic differentiation
    widths: int  # outputs of all linear maps of a block, for one token
    post: int  # multiplications of one token on its way through the part after attention
    projections: int  # multiplications that make one token's query, key and value

    @classmethod
    def of(cls, card: ModelCard) -> Shape | None:
        """The shape of a model; None where its config does not say enough."""
        config = text_part(card.config)
        hidden, heads, family = card.sizes.hidden, card.num_heads or 1, FAMILIES.get(card.model_type)
        if hidden is None or card.num_layers is None:
            return None
        activation = str(config.get("hidden_act") or config.get("hidden_activation") or "")
        gated = activation in GATED or card.model_type.startswith(GATED_FAMILIES)
        head_dim = _first(config, HEAD_DIM_KEYS) or max(1, hidden // heads)
        rows = heads + 2 * (_first(config, GROUP_KEYS) or heads)  # of queries, keys and values
        inner = (_first(config, INNER_KEYS) or 4 * hidden) * (_first(config, EXPERT_KEYS) or 1)
        return cls(
            layers=card.num_layers,
            hidden=hidden,
            heads=heads,
            head_dim=head_dim,
            whole_block=family is not None and family.attention == "none",
            widths=head_dim * rows + 2 * hidden + (2 if gated else 1) * inner,
            post=heads * head_dim * hidden + (3 if gated else 2) * hidden * inner,
            projections=hidden * head_dim * rows,
        )


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, int) and value > 0), None)
