"""Writes lig_core/models/architectures.json from the installed transformers: `python -m generate.architectures`."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, PreTrainedConfig

from lig_core.models.architectures import FILE, SIZES, TEXT_PARTS


def table() -> str:
    """The file as it stands in the repository: one line for each model type."""
    rows = {model_type: _row(CONFIG_MAPPING[model_type]) for model_type in sorted(CONFIG_MAPPING)}
    lines = [f"    {json.dumps(name)}: {json.dumps(row, sort_keys=True)}" for name, row in rows.items()]
    return f'{{\n  "transformers": "{transformers.__version__}",\n  "types": {{\n' + ",\n".join(lines) + "\n  }\n}\n"


def _row(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """The keys and defaults of a type's sizes, and where and of which type the part about its text layers is."""
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    row: dict[str, Any] = {}
    for size in SIZES:
        key = kind.attribute_map.get(size, size)
        default = fields.get(key)
        if key in fields:
            row[size] = [key, default if isinstance(default, int) else None]
    for name in TEXT_PARTS:
        if name in fields or name in (kind.sub_configs or {}):
            row["text"] = [name, getattr((kind.sub_configs or {}).get(name), "model_type", "") or _usual(kind, name)]
    if "position_embedding_type" in fields:
        row["position_embedding_type"] = True
    return row


def _usual(kind: type[PreTrainedConfig], name: str) -> str | None:
    """The type of a part that may be of any, where nothing is said of it."""
    try:
        return getattr(getattr(kind(), name), "model_type", None)
    except Exception:  # some cannot be made of nothing
        return None


if __name__ == "__main__":
    FILE.write_text(table(), encoding="utf-8")
