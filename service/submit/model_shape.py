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
    groups: int  # heads of keys and values
    inner: int  # width of the MLP, of all experts that one token passes
    gated: bool  # the MLP has three matrices, else two
    positions: int | None  # tokens that the model has room for; None: not said
    whole_block: bool  # its blocks do not split: plain automatic differentiation

    @classmethod
    def of(cls, card: ModelCard) -> Shape | None:
        """The shape of a model; None where its config does not say enough."""
        config = text_part(card.config)
        hidden, heads, family = card.sizes.hidden, card.num_heads or 1, FAMILIES.get(card.model_type)
        if hidden is None or card.num_layers is None:
            return None
        activation = str(config.get("hidden_act") or config.get("hidden_activation") or "")
        return cls(
            layers=card.num_layers,
            hidden=hidden,
            heads=heads,
            head_dim=_first(config, HEAD_DIM_KEYS) or max(1, hidden // heads),
            groups=_first(config, GROUP_KEYS) or heads,
            inner=(_first(config, INNER_KEYS) or 4 * hidden) * (_first(config, EXPERT_KEYS) or 1),
            gated=activation in GATED or card.model_type.startswith(GATED_FAMILIES),
            positions=card.positions,
            whole_block=family is not None and family.attention == "none",
        )

    @property
    def widths(self) -> int:
        """Outputs of all linear maps of a block, for one token."""
        return self.head_dim * (self.heads + 2 * self.groups) + 2 * self.hidden + (2 if self.gated else 1) * self.inner

    @property
    def post(self) -> int:
        """Multiplications of one token on its way through the part after attention."""
        return self.heads * self.head_dim * self.hidden + (3 if self.gated else 2) * self.hidden * self.inner

    @property
    def projections(self) -> int:
        """Multiplications that make one token's query, key and value."""
        return self.hidden * self.head_dim * (self.heads + 2 * self.groups)


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    found = (config.get(key) for key in keys)
    return next((value for value in found if isinstance(value, int) and value > 0), None)
