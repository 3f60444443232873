"""Captum's trapezoid, errors included: a rule whose mistakes are known, for a certificate to find."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.quadrature import Attribution, Integrand
from lig_core.quadrature.fixed import apply_rule


def riemann_trapezoid(count: int) -> tuple[Tensor, Tensor]:
    """Nodes linspace(0, 1, count), weights 1/count, half at the ends.

    The weights sum to (count − 1)/count, so even a constant is integrated too low.
    Source: captum/attr/_utils/approximation_methods.py.
    """
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    weights[0] /= 2
    weights[-1] /= 2
    return torch.linspace(0, 1, count, dtype=torch.float64), weights


@dataclass(frozen=True)
class RiemannTrapezoid:
    """The rule with `num_steps` nodes; the one at a = 0, where L has a kink, gives 0."""

    num_steps: int
    rtol: float = 1e-3

    @property
    def name(self) -> str:
        return f"riemann_trapezoid({self.num_steps})"

    def integrate(self, integrand: Integrand) -> Attribution:
        nodes, weights = riemann_trapezoid(self.num_steps)
        return apply_rule(integrand, nodes[1:], weights[1:], self.rtol)
