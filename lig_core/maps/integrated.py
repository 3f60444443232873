"""What integrating a layer gives: a map of each kind, with its certificate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lig_core.quadrature import Attribution


@dataclass(frozen=True)
class LayerMap:
    """z→z': `attribution.values` [targets, sources], and the engine that made it."""

    attribution: Attribution
    engine: str


@dataclass(frozen=True)
class HeadMap:
    """z→u per head: `attribution` has one column per (target, head), heads varying fastest."""

    heads: tuple[int, ...]
    attribution: Attribution
    engine: str

    @property
    def values(self) -> Tensor:
        """[targets, heads, sources]."""
        return self.attribution.values.unflatten(0, (-1, len(self.heads)))

    def only(self, head: int) -> HeadMap:
        """The map of one head."""
        columns = torch.arange(len(self.attribution.total)) % len(self.heads) == self.heads.index(head)
        return replace(self, heads=(head,), attribution=self.attribution.select(columns))


@dataclass(frozen=True)
class MlpMap:
    """u→z': `attribution.values` [targets, dimensions of u]; `per_head` [targets, heads] where u is the heads."""

    attribution: Attribution
    per_head: Tensor | None
