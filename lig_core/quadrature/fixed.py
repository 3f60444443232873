"""Fixed rules: the same nodes for every target, no refinement; the error is reported, not controlled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lig_core.quadrature.integrand import (
    ENTRY,
    TINY,
    Attribution,
    Integrand,
    Status,
    is_hidden,
    largest_of,
    rounding_floor,
    scale_of,
)
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
    total = integrand.totals().numpy()
    sums = integrand.accumulate(nodes, columns, weights[None])
    values = sums.weighted[0].numpy()
    largest = np.maximum(total, sums.lengths.numpy().max(0, initial=0.0))
    floor = rounding_floor(integrand, total)
    still = largest <= floor
    entries = np.where(still, np.abs(values).sum(-1), 0.0)  # that are taken as 0
    dead = still & (entries <= ENTRY * floor)
    values = np.where(still[:, None], 0.0, values)
    missed = np.where(dead, 0.0, np.abs(values.sum(-1) - total))
    error = missed / np.maximum(scale_of(total, largest), TINY)
    return Attribution(
        values=torch.from_numpy(values),
        total=torch.from_numpy(total),
        largest_total=torch.from_numpy(largest_of(total)),
        completeness_error=torch.from_numpy(error),
        entry_error=torch.from_numpy(np.where(dead, 0.0, np.nan)),
        nodes=torch.full_like(columns, len(nodes)),
        converged=torch.from_numpy(((error <= rtol) & ~still) | dead | is_hidden(missed, entries, floor, total, rtol)),
        status=tuple(_status(*each) for each in zip(still.tolist(), dead.tolist(), strict=True)),
    )


def _status(still: bool, dead: bool) -> Status:
    return "zero_path" if dead else "noise_limited" if still else "fixed"
