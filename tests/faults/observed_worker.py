"""The real worker, noting when it does what: `python observed_worker.py FILE`; with `models` too, its child.

A note is a line of JSON: what, at (the machine's monotonic clock, in seconds), bytes (of all models in memory).
"""

from __future__ import annotations

import json
import sys
import time
import weakref
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lig_core.contract import ExplainRequest
from lig_core.models.catalog import ModelCard
from lig_core.result.arrays import LayerArrays
from worker.compute import child
from worker.compute.backend import Backend, Report, ShouldStop
from worker.main import work
from worker.settings import Settings
from worker.take.lease_worker import LeaseWorker

FILE = Path(sys.argv[1])


def note(what: str, **more: Any) -> None:
    with FILE.open("a") as file:
        file.write(json.dumps({"what": what, "at": time.monotonic(), **more}) + "\n")


class ObservedBackend(Backend):
    """Notes loads and the beginning and end of computing. A model counts until nothing refers to it."""

    def __init__(self) -> None:
        super().__init__()
        self._models: list[weakref.ref[Any]] = []

    def load(self, card: ModelCard, device: str | None, dtype: str) -> Any:
        model = super().load(card, device, dtype)
        self._models.append(weakref.ref(model))
        note("loaded", bytes=self.in_memory())
        return model

    def stream(
        self, request: ExplainRequest, model: Any, report: Report, should_stop: ShouldStop, skip: Collection[int]
    ) -> tuple[Mapping[str, Any], Iterator[LayerArrays]]:
        note("computing", bytes=self.in_memory())
        try:
            head, layers = super().stream(request, model, report, should_stop, skip)
        except BaseException:
            note("stopped")
            raise
        return head, self._until_stopped(layers)

    def in_memory(self) -> int:
        return sum(self.size(model) for reference in self._models if (model := reference()) is not None)

    def _until_stopped(self, layers: Iterator[LayerArrays]) -> Iterator[LayerArrays]:
        try:
            yield from layers
        finally:
            note("stopped")


class ObservedWorker(LeaseWorker):
    def take(self, *, wait: bool) -> str | None:
        taken = super().take(wait=wait)
        note("picked up")
        return taken


if __name__ == "__main__":
    if "models" in sys.argv:
        child.main(make_backend=ObservedBackend)
    else:
        work(Settings(), child=[sys.executable, __file__, str(FILE), "models"], make=ObservedWorker)
