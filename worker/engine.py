"""The numerical core as the worker uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from lig_core.catalog import ModelCard
from lig_core.contract import ExplainRequest, Progress

Report = Callable[[Progress], None]
ShouldStop = Callable[[], bool]


class Engine(Protocol):
    """Loads models and explains texts with them; failures are LigErrors."""

    def load(self, card: ModelCard, device: str | None, dtype: str) -> Any:
        """The model, ready to explain with."""

    def run(self, request: ExplainRequest, model: Any, report: Report, should_stop: ShouldStop) -> bytes:
        """The explanation, as JSON; raises Cancelled soon after `should_stop` says so."""


class CoreEngine:
    """The engine of lig_core."""

    def __init__(self) -> None:
        # Here and not at the top: torch takes seconds, and the process without models imports this module's names.
        from lig_core.explain import run  # noqa: PLC0415
        from lig_core.models import load_model  # noqa: PLC0415
        from lig_core.results import to_json  # noqa: PLC0415

        self._run = run
        self._load = load_model
        self._to_json = to_json

    def load(self, card: ModelCard, device: str | None, dtype: str) -> Any:
        """The model, ready to explain with."""
        return self._load(card, device=device, dtype=dtype)

    def run(self, request: ExplainRequest, model: Any, report: Report, should_stop: ShouldStop) -> bytes:
        """The explanation, as JSON; raises Cancelled soon after `should_stop` says so."""
        return self._to_json(self._run(request, model, progress=report, should_stop=should_stop))
