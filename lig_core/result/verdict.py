"""The verdict on all columns of a result together: whether they converged, how each ended, and where some did not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from lig_core.result.arrays import NAMES, STATUSES, LayerArrays

KEYS = ("converged", "columns", "unconverged")
"""The keys of a result's document that stand after its layers, because only they tell them."""


@dataclass
class Verdict:
    """Gathers layers, one at a time. A column is one target of one map, in `att` of one head.

    columns: how many ended with each status; unconverged: of which maps of which layers how many did not converge.
    """

    columns: Counter[str] = field(default_factory=Counter)
    unconverged: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, layers: Iterable[LayerArrays]) -> Self:
        """The verdict on some layers."""
        verdict = cls()
        for layer in layers:
            verdict.add(layer)
        return verdict

    def add(self, layer: LayerArrays) -> None:
        """Gather one more layer."""
        for name, tensor in [*NAMES.items(), ("pairs", "pairs")]:
            if f"{tensor}.status" in layer:  # a composition has none of its own
                codes, counts = np.unique(layer[f"{tensor}.status"], return_counts=True)
                self.columns.update({STATUSES[code]: int(n) for code, n in zip(codes, counts, strict=True)})
            missed = int((~layer[f"{tensor}.converged"]).sum()) if f"{tensor}.converged" in layer else 0
            if missed:
                self.unconverged.append({"layer": layer.index, "map": name, "columns": missed})

    def document(self) -> dict[str, Any]:
        """As it stands in a result, by KEYS."""
        counts = {status: self.columns[status] for status in STATUSES if self.columns[status]}
        return {"converged": not self.unconverged, "columns": counts, "unconverged": list(self.unconverged)}
