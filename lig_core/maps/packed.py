"""The maps of several texts at once: a block of a packed sequence, integrated once, and an integrator for each text."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from typing_extensions import override

from lig_core.blocks.block import Block
from lig_core.blocks.laws import PathLaws
from lig_core.blocks.packing import PackedCall
from lig_core.contract import AttBaseline, LayerBaseline, MlpBaseline
from lig_core.engines.chunking import Budget, ChunkedIntegrand
from lig_core.maps.integrated import HeadMap, LayerMap, MlpMap
from lig_core.maps.integrators import Integral, Integrator, SplitBlockIntegrator
from lig_core.quadrature import Attribution, Quadrature
from lig_core.quadrature.together import Share, Together


def packed_integrators(
    block: Block,
    call: PackedCall,
    laws: PathLaws | None,
    targets: Sequence[Tensor],
    quadrature: Quadrature,
    budget: Budget | None = None,
) -> list[Integrator]:
    """An integrator for each text of a packed block; `targets` are each text's own, counted in it.

    A map that one of them is asked for is integrated for all: the columns, certificates and nodes of a text are those
    that it has alone, up to the rounding of sums.
    """
    spans, device = call.spans, block.z.device
    together = Together(quadrature, [len(each) for each in targets], spans)
    rows = torch.cat([each.to(device) + span.start for each, span in zip(targets, spans, strict=True)])
    whole = _Kept(_Packed(block, laws, rows, together, budget))
    return [_OneText(whole, together, text, each.to(device)) for text, each in enumerate(targets)]


class _Packed(SplitBlockIntegrator):
    """The integrator of all texts."""

    @override
    def quadrature_of(self, chosen: Tensor) -> Quadrature:
        return cast(Together, self.quadrature).of(chosen)


class _Kept:
    """The integrator of all texts, asked for each map once."""

    def __init__(self, integrator: SplitBlockIntegrator) -> None:
        self.integrator = integrator
        self._maps: dict[Hashable, object] = {}

    def get(self, key: Hashable, integrate: Callable[[], Integral]) -> Integral:
        if key not in self._maps:
            self._maps[key] = integrate()
        return cast(Integral, self._maps[key])


class _OneText(Integrator):
    """One text's part of what the integrator of all texts finds."""

    def __init__(self, whole: _Kept, together: Together, text: int, targets: Tensor) -> None:
        super().__init__(targets, together.each, whole.integrator.budget)
        self._whole, self._together, self._text = whole, together, text

    @property
    @override
    def replay_error(self) -> float:
        return self._whole.integrator.replay_error

    @property
    @override
    def num_heads(self) -> int:
        return self._whole.integrator.num_heads

    @property
    @override
    def num_tokens(self) -> int:
        span = self._together.tokens[self._text]
        return span.stop - span.start

    @override
    def layer_integrand(self, *, zero: bool) -> ChunkedIntegrand:
        return self._whole.integrator.layer_integrand(zero=zero)

    @override
    def layer(self, baseline: LayerBaseline) -> LayerMap:
        found = self._whole.get(("layer", baseline), lambda: self._whole.integrator.layer(baseline))
        return replace(found, attribution=self._cut(found.attribution))

    @override
    def att(self, baseline: AttBaseline, heads: Sequence[int]) -> HeadMap:
        key = ("att", baseline, tuple(heads))
        found = self._whole.get(key, lambda: self._whole.integrator.att(baseline, heads))
        return replace(found, attribution=self._cut(found.attribution))

    @override
    def mlp_from_residual(self, baseline: MlpBaseline, *, bypass: bool = True) -> MlpMap:
        key = ("mlp_from_residual", baseline, bypass)
        found = self._whole.get(key, lambda: self._whole.integrator.mlp_from_residual(baseline, bypass=bypass))
        return self._cut_mlp(found)

    @override
    def mlp_from_heads(self, baseline: MlpBaseline) -> MlpMap:
        key = ("mlp_from_heads", baseline)
        return self._cut_mlp(self._whole.get(key, lambda: self._whole.integrator.mlp_from_heads(baseline)))

    @override
    def visible(self) -> Tensor | None:
        found = self._whole.get("visible", self._whole.integrator.visible)
        if found is None:
            return None
        share = self._share(1, over_tokens=True)
        seen = found[:, share.columns] - share.sources.start
        last = share.sources.stop - share.sources.start - 1
        return None if bool((seen[0] == 0).all() and (seen[1] == last).all()) else seen

    def _share(self, width: int, *, over_tokens: bool) -> Share:
        return self._together.share(self._text, width, over_tokens=over_tokens)

    def _cut(self, found: Attribution, *, over_tokens: bool = True) -> Attribution:
        width = len(found.total) // max(1, sum(self._together.targets))
        share = self._share(width, over_tokens=over_tokens)
        chosen = torch.zeros(len(found.total), dtype=torch.bool)
        chosen[share.columns] = True
        own = found.select(chosen)
        return replace(own, values=own.values[:, share.sources])

    def _cut_mlp(self, found: MlpMap) -> MlpMap:
        columns = self._share(1, over_tokens=False).columns
        per_head = None if found.per_head is None else found.per_head[columns]
        return MlpMap(self._cut(found.attribution, over_tokens=False), per_head)
