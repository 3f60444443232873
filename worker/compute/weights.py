"""How much memory a model will take, from the headers of its weight files. Reads no weights."""

from __future__ import annotations

from safetensors import SafetensorError

from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard
from lig_core.models.weight_files import numbers, weight_files


def expected_bytes(card: ModelCard, bytes_per_number: int) -> int | None:
    """Bytes of all parameters at that precision; None where there are no sound safetensors files here."""
    try:
        return sum(map(numbers, weight_files(card))) * bytes_per_number or None
    except (SafetensorError, UnsupportedModel):  # damaged: loading says what is wrong with them
        return None
