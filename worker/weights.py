"""How much memory a model will take, from the headers of its weight files. Reads no weights."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from lig_core.catalog import ModelCard, local_file


def expected_bytes(card: ModelCard, bytes_per_number: int) -> int | None:
    """Bytes of all parameters at that precision; None where there are no sound safetensors files here."""
    config = local_file(card, "config.json")
    files = sorted(config.parent.glob("*.safetensors")) if config is not None else []
    try:
        return sum(map(_numbers, files)) * bytes_per_number if files else None
    except SafetensorError:  # damaged: loading says what is wrong with them
        return None


def _numbers(file: Path) -> int:
    with safe_open(file, framework="numpy") as opened:
        return sum(math.prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118 (it is no dict)
