"""How much memory a model will take, from the headers of its weight files. Reads no weights."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from lig_core.catalog import ModelCard


def expected_bytes(card: ModelCard, bytes_per_number: int) -> int | None:
    """Bytes of all parameters at that precision; None where there are no safetensors files here to ask."""
    folder = _folder(card)
    files = sorted(folder.glob("*.safetensors")) if folder is not None else []
    return sum(map(_numbers, files)) * bytes_per_number if files else None


def _numbers(file: Path) -> int:
    with file.open("rb") as opened:
        (length,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(length))
    return sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")


def _folder(card: ModelCard) -> Path | None:
    source = Path(card.source)
    if source.is_dir():
        return source
    config = try_to_load_from_cache(card.source, "config.json", revision=card.revision)
    return Path(config).parent if isinstance(config, str) else None
