"""The numerical core as the worker uses it."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from lig_core.contract import ExplainRequest, Progress
from lig_core.models.catalog import ModelCard
from lig_core.result.arrays import LayerArrays
from worker.compute.memory import expected_bytes, machine_memory

Report = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Backend:
    """Loads models and explains texts with lig_core, on the device that torch finds; failures are LigErrors."""

    def __init__(self) -> None:
        # Here and not at the top: torch takes seconds, and the process without models imports this module's names.
        import torch  # noqa: PLC0415

        from lig_core.loading.loaded import load_model  # noqa: PLC0415
        from lig_core.method import stream  # noqa: PLC0415

        self._torch = torch
        self._stream = stream
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

    def stream(
        self, request: ExplainRequest, model: Any, report: Report, should_stop: ShouldStop, skip: Collection[int]
    ) -> tuple[Mapping[str, Any], Iterator[LayerArrays]]:
        """The head of the result, then its layers as they are computed, but for those in `skip`.

        Raises Cancelled soon after `should_stop` says so.
        """
        return self._stream(request, model, progress=report, should_stop=should_stop, skip=skip)
