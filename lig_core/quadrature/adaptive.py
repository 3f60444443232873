"""Adaptive quadrature with a true certificate.

Set-to-set IG has a gift: Σ_i rate_ij(a) = dL_j/da, and L_j(a) is known at every node. So every panel of the
path can be checked exactly, not only at its end but at each node inside:

    e    = |∫ Σ_i rate_ij − ΔL_j|                        over the panel
    cum  = max_k |∫ from the panel's start to node k − ΔL_j|

End-point agreement alone can happen by accident; agreement at every node cannot, and costs nothing.

Sums can agree where entries do not: what one source gains another may lose at the same place. So every entry has an
estimate of its error beside: by comparing nested rules, and, where attention mixes, by a witness that is known exactly
source by source (`Integrand`). A column is certified when both hold.

The path is graded where the mass sits (measured by forward passes: normalisation makes a zero-baseline path
nearly scale free, with boundary layers down to a ~ 1e-6), integrated by nested Gauss-Patterson rules
7 < 15 < 31 that reuse every node, and split around the worst interval when 31 nodes are not enough. Only
columns that fail are refined.
"""

from __future__ import annotations

import numpy as np

from lig_core.contract import LOOSEST_RTOL
from lig_core.quadrature.integrand import Attribution, Integrand
from lig_core.quadrature.planning import plan
from lig_core.quadrature.refinement import Effort, Refinement


class Adaptive(Effort):
    """Integrates each column to a relative tolerance, with what effort that takes (`Effort`)."""

    @classmethod
    def asked(cls, rtol: float) -> Adaptive:
        """To a tolerance that somebody asks for, and to LOOSEST_RTOL at least.

        Few nodes tell too little of their own error: at 1e-2 one column in thirty was off by more than 3e-3.
        """
        return cls(rtol=min(rtol, LOOSEST_RTOL))

    @property
    def name(self) -> str:
        """The quadrature's name in the receipt."""
        return "adaptive_gauss_patterson"

    def integrate(self, integrand: Integrand) -> Attribution:
        """The contributions of every source to every column, each column certified on its own."""
        with np.errstate(all="ignore"):  # what is no number is no reason to stop: it is not certified
            run = Refinement(self, integrand)
            run.solve(list(plan(run)))
            return run.result()
