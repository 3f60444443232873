"""The maps between a layer's nodes, each integrated from its baseline: z→z', z→u and u→z'.

Baselines z⁰ (LIG, arXiv 2606.21564):
    zero              z⁰ = 0
    self_input_token  ITB: for target j every token starts as z_j; the raw self term is 0
    itb_zero_ratio    ITB with a self term in the proportion that the zero baseline sees
    itb_map_ratio     ITB with a self term in the proportion of the attention weight
For u→z': zero, or att_itb_a0: u as it is when every token is z_j.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Self, TypeVar, cast

import torch
from torch import Tensor
from typing_extensions import override

from lig_core.blocks.attention import self_weights, visible_range
from lig_core.blocks.block import Block, WholeBlock
from lig_core.blocks.laws import PathLaws
from lig_core.blocks.precision import in_float64, whole_in_float64, working_precision
from lig_core.contract import AttBaseline, LayerBaseline, MlpBaseline
from lig_core.engines.chunking import Budget, ChunkedIntegrand
from lig_core.engines.dense import DenseTarget, DenseZero
from lig_core.engines.factored import AttentionIntegrand, LayerIntegrand, MlpIntegrand
from lig_core.engines.gathering import on_device
from lig_core.engines.path import Path
from lig_core.engines.target_paths import target_path
from lig_core.engines.zero_paths import zero_path
from lig_core.errors import OutOfMemory, UnsupportedMap, UnsupportedModel
from lig_core.maps.integrated import HeadMap, LayerMap, MlpMap
from lig_core.maps.self_term import by_map_ratio, by_zero_ratio
from lig_core.quadrature import Attribution, Quadrature
from lig_core.quadrature.rounding import SUSPECT, blurred, replaced, spoilt

Integral = TypeVar("Integral")
MAGNIFIED = 13.0
"""Where a block's output is a sum (pre-norm), errors by rounding were up to so many times what its largest entry's last
digit is of L: massive activations have large gradients. Where it ends with a norm they were 0.3 times that at most."""


class Integrator(ABC):
    """The maps of one block for some target tokens."""

    def __init__(self, targets: Tensor, quadrature: Quadrature, budget: Budget | None = None) -> None:
        self.targets, self.quadrature, self.budget = targets, quadrature, budget or Budget()

    @property
    @abstractmethod
    def replay_error(self) -> float:
        """How far a replay of the block is from the model's own output, relative to its largest entry."""

    @property
    @abstractmethod
    def num_heads(self) -> int:
        """Attention heads, 0 where there are none to tell apart."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """Tokens of the text."""

    @abstractmethod
    def layer_integrand(self, *, zero: bool) -> ChunkedIntegrand:
        """The rates of z→z' from the zero baseline or from ITB."""

    @abstractmethod
    def layer(self, baseline: LayerBaseline) -> LayerMap:
        """z→z' of the whole block."""

    @abstractmethod
    def att(self, baseline: AttBaseline, heads: Sequence[int]) -> HeadMap:
        """z→u: each head's output before the output projection."""

    @abstractmethod
    def mlp_from_residual(self, baseline: MlpBaseline, *, bypass: bool = True) -> MlpMap:
        """u→z' with u the stream after attention; without `bypass`, through the MLP alone."""

    @abstractmethod
    def mlp_from_heads(self, baseline: MlpBaseline) -> MlpMap:
        """u→z' with u the concatenated head outputs; z's own residual is held fixed."""

    def visible(self) -> Tensor | None:
        """The first and the last source that each target sees [2, targets]; None: all of them, or not known."""
        return None

    def alone(self) -> Tensor | None:
        """Targets that see no token but themselves [targets]; None where that is not known of any."""
        if self.num_tokens == 1:
            return torch.ones(len(self.targets), dtype=torch.bool)
        seen = self.visible()
        return None if seen is None else seen[0] == seen[1]


class _Integrating(Integrator):
    """Integrates the maps itself, each integral once however many maps are made of it.

    All baselines of `layer`, `att` and `mlp_from_heads` take six: from zero and from the target itself, of each.
    """

    def __init__(self, targets: Tensor, quadrature: Quadrature, budget: Budget | None = None) -> None:
        super().__init__(targets, quadrature, budget)
        self._integrals: dict[Hashable, object] = {}

    @property
    def _magnified(self) -> float:
        """By how much the block may magnify rounding of its output."""
        return MAGNIFIED

    @abstractmethod
    def _in_float64(self, chosen: Tensor) -> Self:
        """The integrator of the same block in float64, for some of the targets [targets]."""

    @override
    def layer(self, baseline: LayerBaseline) -> LayerMap:
        if baseline == "itb_zero_ratio":
            itb, zero = self.layer("self_input_token"), self.layer("zero")
            joined = by_zero_ratio(itb.attribution, zero.attribution, self._tokens, self.quadrature.rtol)
            return LayerMap(joined, f"{itb.engine}+{zero.engine}")
        return self._once(("layer", baseline), lambda: self._layer(zero=baseline == "zero"))

    def _layer(self, *, zero: bool) -> LayerMap:
        integrand = self.layer_integrand(zero=zero)
        return LayerMap(self._integrated(integrand, lambda of: of.layer_integrand(zero=zero)), integrand.engine)

    def _integrated(self, integrand: ChunkedIntegrand, of: Callable[[Self], ChunkedIntegrand]) -> Attribution:
        """A map's columns; those that rounding may have spoilt in float64, or else their certificates say so.

        `of` makes the same integrand of another integrator.
        """
        found, rtol = self.quadrature.integrate(integrand), self.quadrature.rtol
        if integrand.dtype == torch.float64 or not integrand.num_columns:
            return found
        rounding, alone = integrand.rounding(found.total.numpy(), self._magnified), self.alone()
        width = len(rounding) // len(self.targets)
        columns = spoilt(found, rounding, rtol, None if alone is None else alone.numpy().repeat(width))
        if not columns.any():
            return found
        chosen = columns.reshape(-1, width).any(1)
        try:
            with working_precision(torch.float64):
                precise = self._in_float64(torch.from_numpy(chosen))
                wide = of(precise)
                again = precise.quadrature.integrate(wide)
                left = wide.rounding(again.total.numpy(), self._magnified)
        except (RuntimeError, OutOfMemory, UnsupportedModel):  # it takes too much memory, or lies on several devices
            return blurred(found, columns, rounding, rtol)
        of_chosen = columns[chosen.repeat(width)]
        found = replaced(found, columns, again.select(torch.from_numpy(of_chosen)))
        rounding[columns] = left[of_chosen]
        return blurred(found, columns & (rounding > SUSPECT * rtol), rounding, rtol)

    def _once(self, name: Hashable, integrate: Callable[[], Integral]) -> Integral:
        if name not in self._integrals:
            self._integrals[name] = integrate()
        return cast(Integral, self._integrals[name])

    @property
    def _tokens(self) -> Tensor:
        return self.targets.cpu()


class WholeBlockIntegrator(_Integrating):
    """A block that does not split: z→z' by the dense engine. `reason` says why there is no more; see `LayerFacts`."""

    num_heads = 0

    def __init__(
        self,
        block: WholeBlock,
        reason: str,
        targets: Tensor,
        quadrature: Quadrature,
        budget: Budget | None = None,
        *,
        disputed: bool = False,
    ) -> None:
        super().__init__(targets, quadrature, budget)
        self._block, self._reason, self._disputed = block, reason, disputed

    @property
    @override
    def replay_error(self) -> float:
        return self._block.replay_error

    @property
    @override
    def num_tokens(self) -> int:
        return self._block.num_tokens

    @override
    def layer_integrand(self, *, zero: bool) -> ChunkedIntegrand:
        engine = DenseZero if zero else DenseTarget
        return engine(self._block, self.targets, self.budget, switching=self._disputed)

    @override
    def _in_float64(self, chosen: Tensor) -> Self:
        block, targets = whole_in_float64(self._block), self.targets[chosen.to(self.targets.device)]
        return type(self)(block, self._reason, targets, self.quadrature, self.budget, disputed=self._disputed)

    @override
    def att(self, baseline: AttBaseline, heads: Sequence[int]) -> HeadMap:
        raise self._refusal("att")

    @override
    def mlp_from_residual(self, baseline: MlpBaseline, *, bypass: bool = True) -> MlpMap:
        raise self._refusal("mlp")

    @override
    def mlp_from_heads(self, baseline: MlpBaseline) -> MlpMap:
        raise self._refusal("mlp")

    def _refusal(self, name: str) -> UnsupportedMap:
        return UnsupportedMap(
            f"'{name}' needs attention and MLP apart, and {self._reason}; ask for granularity 'layer'"
        )


class SplitBlockIntegrator(_Integrating):
    """A block in three parts: every map, by the factored engine."""

    def __init__(
        self,
        block: Block,
        laws: PathLaws | None,
        targets: Tensor,
        quadrature: Quadrature,
        budget: Budget | None = None,
    ) -> None:
        super().__init__(targets, quadrature, budget)
        self.block, self.laws = block, laws
        self._paths: dict[tuple[bool, tuple[int, ...]], Path] = {}

    @property
    @override
    def replay_error(self) -> float:
        return self.block.replay_error

    @property
    @override
    def num_heads(self) -> int:
        return self.block.num_heads

    @property
    @override
    def num_tokens(self) -> int:
        return self.block.num_tokens

    @override
    def layer_integrand(self, *, zero: bool) -> ChunkedIntegrand:
        """The factored engine's rates; the dense engine's where routed experts could overflow."""
        if self.block.crowded:
            dense = DenseZero if zero else DenseTarget
            return dense(self.block, self.targets, self.budget)
        return LayerIntegrand(self.block, self._path(zero, range(self.num_heads)), self.targets, self.budget)

    @override
    def _in_float64(self, chosen: Tensor) -> Self:
        block, laws = self._wide
        targets = self.targets[chosen.to(self.targets.device)]
        return type(self)(block, laws, targets, self.quadrature_of(chosen), self.budget)

    @property
    @override
    def _magnified(self) -> float:
        return 1.0 if self.laws is not None and self.laws.norm.kind == "none" else MAGNIFIED

    @cached_property
    def _wide(self) -> tuple[Block, PathLaws | None]:
        return in_float64(self.block, self.laws)

    def quadrature_of(self, chosen: Tensor) -> Quadrature:
        """The quadrature of some of the targets [targets]."""
        return self.quadrature

    @override
    def att(self, baseline: AttBaseline, heads: Sequence[int]) -> HeadMap:
        if baseline == "itb_zero_ratio":
            itb, zero = self.att("self_input_token", heads), self.att("zero", heads)
            tokens = self._tokens_by_head(heads)
            joined = by_zero_ratio(itb.attribution, zero.attribution, tokens, self.quadrature.rtol)
            return HeadMap(itb.heads, joined, f"{itb.engine}+{zero.engine}")
        if baseline == "itb_map_ratio":
            itb = self.att("self_input_token", heads)
            own, others = self._self_weights(heads)
            total = itb.attribution.total.numpy()
            of_logits = torch.from_numpy(self._att_integrand(heads, zero=False).rounding(total, magnified=0.0))
            tokens = self._tokens_by_head(heads)
            found = by_map_ratio(itb.attribution, own, others, tokens, self.quadrature.rtol, of_logits)
            return replace(itb, attribution=found)
        return self._once(("att", baseline, *heads), lambda: self._att(heads, zero=baseline == "zero"))

    def _att(self, heads: Sequence[int], *, zero: bool) -> HeadMap:
        integrand = self._att_integrand(heads, zero=zero)
        found = self._integrated(integrand, lambda of: of._att_integrand(heads, zero=zero))
        return HeadMap(tuple(heads), found, integrand.engine)

    def _att_integrand(self, heads: Sequence[int], *, zero: bool) -> ChunkedIntegrand:
        return AttentionIntegrand(self.block, self._path(zero, heads), self.targets, self.budget)

    @override
    def mlp_from_residual(self, baseline: MlpBaseline, *, bypass: bool = True) -> MlpMap:
        integrand = self._residual_integrand(baseline, bypass=bypass)
        found = self._integrated(integrand, lambda of: of._residual_integrand(baseline, bypass=bypass))
        return MlpMap(found, per_head=None)

    def _residual_integrand(self, baseline: MlpBaseline, *, bypass: bool) -> ChunkedIntegrand:
        block = self.block
        z, heads = block.z[self.targets], block.heads_out[self.targets]
        u = block.residual_stream(heads, z)
        start = torch.zeros_like(u) if baseline == "zero" else block.residual_stream(self._heads_from_self(), z)
        return MlpIntegrand(
            block,
            lambda rows, _tokens: block.finish_from_residual(rows, bypass=bypass),
            u,
            start,
            self.targets,
            "grouped" if baseline == "zero" else "measured",
            self.budget,
            (lambda rows, _tokens: block.finish_from_residual(rows, bypass=False)) if bypass else None,
        )

    @override
    def mlp_from_heads(self, baseline: MlpBaseline) -> MlpMap:
        return self._once(("mlp_from_heads", baseline), lambda: self._mlp_from_heads(baseline))

    def _mlp_from_heads(self, baseline: MlpBaseline) -> MlpMap:
        integrand = self._heads_integrand(baseline)
        found = self._integrated(integrand, lambda of: of._heads_integrand(baseline))
        return MlpMap(found, per_head=found.values.unflatten(1, self.block.heads_out.shape[1:]).sum(-1))

    def _heads_integrand(self, baseline: MlpBaseline) -> ChunkedIntegrand:
        block = self.block
        shape = block.heads_out.shape[1:]  # heads, head_dim
        u = block.heads_out[self.targets]
        start = torch.zeros_like(u) if baseline == "zero" else self._heads_from_self()
        return MlpIntegrand(
            block,
            lambda rows, tokens: block.finish(rows.unflatten(1, shape), block.z[tokens]),
            u.flatten(1),
            start.flatten(1),
            self.targets,
            "grouped" if baseline == "zero" else "measured",
            self.budget,
        )

    @override
    def visible(self) -> Tensor | None:
        return self._once("visible", lambda: visible_range(self.block.attention, self._tokens))

    def _path(self, zero: bool, heads: Sequence[int]) -> Path:
        """The path of some heads: one for all maps."""
        key = (zero, tuple(heads))
        if key not in self._paths:
            (chosen,) = on_device(self.block.z.device, torch.tensor(key[1]))
            self._paths[key] = (zero_path if zero else target_path)(self.block, self.laws, chosen)
        return self._paths[key]

    def _heads_from_self(self) -> Tensor:
        """Head outputs at each target when every token is z_j: [targets, heads, head_dim]."""
        start = torch.zeros(1, dtype=torch.float64, device=self.block.z.device)
        path = self._path(False, range(self.num_heads))
        return path.at(start).attend(self.targets).heads_out[0].transpose(0, 1)

    def _self_weights(self, heads: Sequence[int]) -> list[Tensor]:
        """α_jj and 1 − α_jj of each (target, head) column."""
        return [x[list(heads)][:, self.targets].T.flatten().cpu() for x in self_weights(self.block.attention)]

    def _tokens_by_head(self, heads: Sequence[int]) -> Tensor:
        return self._tokens.repeat_interleave(len(heads))
