"""Substitutions a(t) that resolve a boundary layer of width δ at a = 0, at a = 1, or at both."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lig_core.quadrature.integrand import Array

WIDE = 0.5
"""A layer at least this wide needs no grading."""


@dataclass(frozen=True)
class Grading:
    """a(t) on [0, 1] with about equal numbers of nodes per decade of a/δ.

    left and right are the widths at a = 0 and a = 1; ≥ 0.5 means none.
      left only    a = δ sinh(κ t),  κ = asinh(1/δ)
      right only   the mirror image
      both         x = x₀ + (x₁ − x₀) t,  a = δ_L (e^{x−x₀} − 1)/(1 + eˣ),  x₀ = ln(δ_L/(1+δ_R)), x₁ = ln((1+δ_L)/δ_R)
    """

    left: float = 1.0
    right: float = 1.0

    def __call__(self, t: Array) -> tuple[Array, Array]:
        """a and da/dt at t [nodes], float64."""
        if self.left >= WIDE and self.right >= WIDE:
            return t, np.ones_like(t)
        if self.right >= WIDE:
            return _sinh(t, self.left)
        if self.left >= WIDE:
            a, slope = _sinh(1 - t, self.right)
            return 1 - a, slope
        low = math.log(self.left / (1 + self.right))
        high = math.log((1 + self.left) / self.right)
        x = low + (high - low) * t
        grown = np.exp(x)
        a = self.left * np.expm1(x - low) / (1 + grown)
        return a.clip(0, 1), (high - low) * grown * (1 + self.left + self.right) / (1 + grown) ** 2


def _sinh(t: Array, width: float) -> tuple[Array, Array]:
    stretch = math.asinh(1 / width)
    return width * np.sinh(stretch * t), width * stretch * np.cosh(stretch * t)
