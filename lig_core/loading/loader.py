"""Loading as a pool of models needs it: with the sizes of models, and memory that is given back."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard
from lig_core.models.weight_files import numbers, weight_files


class Loader:
    """Loads models on the devices that torch finds; failures are LigErrors."""

    def __init__(self) -> None:
        # Here and not at the top: torch takes seconds, and the worker's process without models imports these names.
        import torch  # noqa: PLC0415

        from lig_core.loading.loaded import load_model  # noqa: PLC0415

        self._torch = torch
        self._load = load_model

    def load(self, card: ModelCard, device: str | None, dtype: str) -> Any:
        """The model, ready to explain with."""
        return self._load(card, device=device, dtype=dtype)

    def expected_size(self, card: ModelCard, dtype: str) -> int | None:
        """Bytes that the model will take, where that is known without loading it."""
        return expected_bytes(card, getattr(self._torch, dtype).itemsize)

    def size(self, model: Any) -> int:
        """Bytes of its parameters and buffers."""
        tensors = itertools.chain(model.model.parameters(), model.model.buffers())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def release(self) -> None:
        """Give memory of models that are gone back to the device."""
        gc.collect()  # modules and their hooks refer to each other
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()

    def memory(self, device: str | None) -> int:
        """Bytes of the GPU, or of this machine."""
        if device == "cpu" or not self._torch.cuda.is_available():
            return machine_memory()
        return int(self._torch.cuda.mem_get_info()[1])

    def device_memory_used(self) -> int | None:
        """Bytes that torch holds on the GPU; None without one."""
        return int(self._torch.cuda.memory_reserved()) if self._torch.cuda.is_available() else None


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
