"""The names that each family's config has for the sizes of a model: transformers' names and defaults, in a table.

The API has no transformers, and says layers, heads and positions of a model before anyone loads it. The table is made
by `make architectures` from transformers' own config classes. Imports no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lig_core.models.families import first_position

FILE = Path(__file__).with_name("architectures.json")
SIZES = ("num_hidden_layers", "num_attention_heads", "hidden_size", "max_position_embeddings", "vocab_size")
"""The common names, which a config may use beside its family's own, and which go before them."""
OWN_NAMES: dict[str, tuple[str, ...]] = {
    "num_hidden_layers": ("n_layer", "n_layers", "num_layers", "encoder_layers"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads", "encoder_attention_heads"),
    "hidden_size": ("n_embd", "d_model", "dim"),
    "max_position_embeddings": ("n_positions",),
    "vocab_size": (),
}
"""Of families that are not in the table: transformers newer than it, or none."""
TEXT_PARTS = ("text_encoder", "decoder", "generator", "text_config")
"""The keys under which a config of several parts keeps the one about its text layers."""


@dataclass(frozen=True)
class Sizes:
    """A model's sizes as its config gives them; None where it does not.

    positions: tokens that the model has room for, special ones included; rows: of its embedding of tokens.
    """

    layers: int | None
    heads: int | None
    hidden: int | None
    positions: int | None
    rows: int | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Sizes:
        """The sizes that a config gives, its family's defaults where it leaves one out."""
        text = text_part(config)
        layers, heads, hidden, positions, rows = (_size(text, name) for name in SIZES)
        if positions is not None:
            positions = max(1, positions - first_position(text))
        return cls(layers, heads, hidden, positions, rows)


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config that describes the text layers: all of it, but for models of several parts."""
    names = _row(config).get("text")
    if names is None:
        part = None if _row(config) else config.get("text_config")
        return {**config, **part} if isinstance(part, Mapping) else config
    name, model_type = names
    part = config.get(name)
    return {"model_type": model_type, **part} if isinstance(part, Mapping) else {}


def types() -> Mapping[str, Mapping[str, Any]]:
    """The table's rows, by model type: all that transformers has."""
    return _table()["types"]


def made_with() -> str:
    """The version of transformers that the table was made with."""
    return str(_table()["transformers"])


@cache
def _table() -> dict[str, Any]:
    return json.loads(FILE.read_text(encoding="utf-8"))


def _row(config: Mapping[str, Any]) -> Mapping[str, Any]:
    model_type = config.get("model_type")
    return types().get(model_type, {}) if isinstance(model_type, str) else {}


def _size(config: Mapping[str, Any], name: str) -> int | None:
    row = _row(config)
    own, default = row.get(name, (None, None))
    if not row:
        keys: tuple[str, ...] = (name, *OWN_NAMES[name])
    elif own is None:
        return None
    else:
        keys = (name, own)
    values = [config[key] for key in keys if key in config] or [default]
    return values[0] if isinstance(values[0], int) and not isinstance(values[0], bool) and values[0] > 0 else None
