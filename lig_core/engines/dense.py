"""The dense engine: attributions by plain automatic differentiation of the whole block. Any block, any mixing.

One backward pass per target (zero baseline), or one replay of the block per target and node (ITB): about as
many times the factored engine's work as there are tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lig_core.blocks.block import WholeBlock
from lig_core.engines.chunking import Budget, ChunkedIntegrand
from lig_core.engines.factored import lengths_and_gradients, post_bytes
from lig_core.quadrature.integrand import Parts, Start


class _DenseIntegrand(ChunkedIntegrand):
    """z→z' of a whole block; a column is a target, a source a token. `switching` says that attention may switch."""

    opaque = True
    engine = "dense"

    def __init__(
        self, block: WholeBlock, targets: Tensor, base: Tensor, start: Start, budget: Budget, switching: bool
    ) -> None:
        super().__init__(budget)
        self._switching = switching
        self._block, self._targets, self._base = block, targets, base
        self.num_columns, self.num_sources = len(targets), block.num_tokens
        self.start = start
        self.dtype, self.device = block.z.dtype, block.z.device
        self.kinked, self.routed = block.kinked, block.routed

    @property
    def origin(self) -> Tensor:
        """block(z⁰)_j."""
        return self._base

    def parts(self, columns: Tensor) -> Parts | None:
        """Where attention may switch, that is anywhere, if it may."""
        return Parts(switches=torch.zeros(len(columns), dtype=torch.float64)) if self._switching else None


class DenseZero(_DenseIntegrand):
    """Zero baseline: one forward pass of the block per node serves all targets, then one backward pass each."""

    def __init__(self, block: WholeBlock, targets: Tensor, budget: Budget, *, switching: bool = False) -> None:
        with torch.no_grad():
            base = block.replay(torch.zeros_like(block.z)[None])[0, targets]
        super().__init__(block, targets, base, "shared", budget, switching)

    def bytes_per_pair(self) -> int:
        """A node keeps the activations of every token, however many targets are asked for."""
        return post_bytes(self._block) * self._block.num_tokens // max(1, len(self._targets)) + 1

    def _here(self, a: Tensor) -> Tensor:
        return a.to(self.dtype)[:, None, None] * self._block.z

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        a, columns = self._placed(a, columns)
        with torch.no_grad():
            out = self._block.replay(self._here(a))[:, self._targets[columns]]
        return (out - self._base[columns]).norm(dim=-1)

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, None]:
        a, columns = self._placed(a, columns)
        with torch.enable_grad():
            here = self._here(a).requires_grad_()
            out = self._block.replay(here)[:, self._targets[columns]]
            lengths = (out - self._base[columns]).norm(dim=-1)  # [nodes, columns]
            rates = []
            for column in range(len(columns)):
                last = column + 1 == len(columns)
                (gradient,) = torch.autograd.grad(lengths[:, column].sum(), here, retain_graph=not last)
                rates.append((gradient * self._block.z).sum(-1))
        return lengths.detach(), torch.stack(rates, 1), None


class DenseTarget(_DenseIntegrand):
    """ITB: every (node, target) pair is a sequence of its own, all replayed and differentiated together."""

    def __init__(self, block: WholeBlock, targets: Tensor, budget: Budget, *, switching: bool = False) -> None:
        rows = []
        for j in targets.tolist():
            with torch.no_grad():
                rows.append(block.replay(block.z[j].expand_as(block.z)[None])[0, j])
        super().__init__(block, targets, torch.stack(rows), "measured", budget, switching)

    def bytes_per_pair(self) -> int:
        """Each pair keeps the activations of a whole sequence."""
        return post_bytes(self._block) * self._block.num_tokens

    def _paths(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Hidden states and directions [pairs, tokens, hidden]; each pair's target token and F(z⁰)."""
        z, targets = self._block.z, self._targets[columns]
        start = z[targets][:, None].repeat(len(a), 1, 1)
        direction = z - start
        nodes = a if a.dim() == 2 else a[:, None].expand(-1, len(columns))
        nodes = nodes.to(self.dtype).flatten()[:, None, None]
        return start + nodes * direction, direction, targets.repeat(len(a)), self._base[columns].repeat(len(a), 1)

    def _at_targets(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return self._block.replay(hidden)[torch.arange(len(targets), device=targets.device), targets]

    def _lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        a, columns = self._placed(a, columns)
        hidden, _, targets, base = self._paths(a, columns)
        with torch.no_grad():
            lengths = (self._at_targets(hidden, targets) - base).norm(dim=-1)
        return lengths.unflatten(0, (len(a), len(columns)))

    def _rates(self, a: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, None]:
        a, columns = self._placed(a, columns)
        hidden, direction, targets, base = self._paths(a, columns)
        lengths, (gradient,) = lengths_and_gradients(lambda x: self._at_targets(x, targets), [hidden], base)
        rate = (gradient * direction).sum(-1)
        own = torch.arange(len(targets), device=targets.device)
        rate[own, targets] = 0  # the target does not move on its own path
        shape = (len(a), len(columns))
        return lengths.unflatten(0, shape), rate.unflatten(0, shape), None
