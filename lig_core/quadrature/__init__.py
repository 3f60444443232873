"""Quadrature as first-class objects: `Adaptive` (the default) and `GaussLegendre`."""

from lig_core.quadrature.adaptive import Adaptive
from lig_core.quadrature.fixed import GaussLegendre
from lig_core.quadrature.integrand import Attribution, Integrand, Quadrature, Sums

__all__ = ["Adaptive", "Attribution", "GaussLegendre", "Integrand", "Quadrature", "Sums"]
