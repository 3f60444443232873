"""Fixed rules: the same nodes for every target, no refinement; the error is reported, not controlled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lig_core.quadrature.integrand import ENTRY, Attribution, Integrand, Status, is_hidden, rounding_floor, scale_of
from lig_core.quadrature.rules import gauss_legendre


@dataclass(frozen=True)
class GaussLegendre:
    """`num_steps` Gauss-Legendre nodes. `converged` says whether completeness holds to `rtol` all the same."""

    num_steps: int
    rtol: float = 1e-3

    @property
    def name(self) -> str:
        """gauss_legendre(n)."""
        return f"gauss_legendre({self.num_steps})"

    def integrate(self, integrand: Integrand) -> Attribution:
        """The rule applied to every column."""
        return apply_rule(integrand, *gauss_legendre(self.num_steps), self.rtol)


def apply_rule(integrand: Integrand, nodes: Tensor, weights: Tensor, rtol: float) -> Attribution:
    """Σ_k w_k rate(a_k) for every column, with its completeness error."""
    columns = torch.arange(integrand.num_columns)
    total = integrand.lengths(torch.ones(1, dtype=torch.float64), columns)[0]
    sums = integrand.accumulate(nodes, columns, weights[None])
    values = sums.weighted[0]
    largest = torch.cat([total[None], sums.lengths]).amax(0)
    floor = rounding_floor(integrand, total)
    still = largest <= floor
    dead = still & (values.abs().sum(-1) <= ENTRY * floor)
    values = torch.where(still[:, None], 0.0, values)
    scale = scale_of(total, largest).clamp_min(torch.finfo(torch.float64).tiny)
    missed = torch.where(dead, 0.0, (values.sum(-1) - total).abs())
    error = missed / scale
    return Attribution(
        values=values,
        total=total,
        completeness_error=error,
        entry_error=torch.where(dead, 0.0, torch.full_like(error, torch.nan)),
        nodes=torch.full_like(columns, len(nodes)),
        converged=((error <= rtol) & ~still) | dead | is_hidden(missed, floor, total, rtol),
        status=tuple(_status(*each) for each in zip(still.tolist(), dead.tolist(), strict=True)),
    )


def _status(still: bool, dead: bool) -> Status:
    return "zero_path" if dead else "noise_limited" if still else "fixed"
