"""Memory in bytes: of the machine, and of a model before it is loaded."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors import SafetensorError

from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard
from lig_core.models.weight_files import numbers, weight_files


def machine_memory() -> int:
    """Physical memory of this machine, or what this container may use of it."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text().strip() if limit.is_file() else "max"
    return physical if allowed == "max" else min(physical, int(allowed))


def expected_bytes(card: ModelCard, bytes_per_number: int) -> int | None:
    """Bytes of all parameters at that precision, by the headers of the weight files; None where none are sound here."""
    try:
        return sum(map(numbers, weight_files(card))) * bytes_per_number or None
    except (SafetensorError, UnsupportedModel):  # damaged: loading says what is wrong with them
        return None
