"""Nodes and weights on (0, 1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from lig_core.quadrature.integrand import Array

# Patterson's nested extensions of the three-point Gauss rule (T. N. L. Patterson, "The optimum addition of
# points to quadrature formulae", Math. Comp. 22, 1968): positive nodes on [-1, 1] by the rule that adds them.
_ADDED_BY = {
    3: (0.0, 0.7745966692414834),
    7: (0.43424374934680254, 0.9604912687080203),
    15: (0.2233866864289669, 0.6211029467372264, 0.888459232872257, 0.993831963212755),
    31: (
        0.11248894313318662,
        0.3311353932579768,
        0.5313197436443756,
        0.7024962064915271,
        0.8367259381688688,
        0.9296548574297401,
        0.9815311495537401,
        0.9990981249676676,
    ),
}


SAME_NODE = 1e-12
"""Nodes closer than this are one."""


@dataclass(frozen=True)
class NestedRule:
    """A Gauss-Patterson rule on (0, 1).

    nodes [n] ascending; weights [n]; cumulative [n+1, n]: row k integrates the interpolating polynomial
    from 0 to node k, the last row from 0 to 1 (it equals the weights); fresh: indices of the nodes that the
    next smaller rule does not have.
    """

    nodes: Array
    weights: Array
    cumulative: Array
    fresh: Array


@cache
def gauss_patterson(*sizes: int) -> tuple[NestedRule, ...]:
    """The rules of the given sizes (of 3, 7, 15, 31), ascending; each contains the nodes of the one before."""
    rules: list[NestedRule] = []
    for size in sizes:
        positive = [x for added, nodes in _ADDED_BY.items() if added <= size for x in nodes]
        x = np.array(sorted({*positive, *(-v for v in positive)}))
        cumulative = _cumulative(x)
        nodes = (x + 1) / 2
        known = rules[-1].nodes if rules else nodes[:0]
        fresh = np.array([k for k, t in enumerate(nodes) if not (np.abs(known - t) < SAME_NODE).any()])
        rules.append(NestedRule(nodes, cumulative[-1], cumulative, fresh))
    return tuple(rules)


@cache
def weights_where_added(sizes: tuple[int, ...], level: int, *, first: bool) -> tuple[Array, Array]:
    """The nodes that the rule at `level` adds, and what the rules give them; 0 for a node that is none of a rule's own.

    [nodes] and [rules, nodes]: of the rules from `level` on; of all nodes, and the rule before as well, where it is the
    `first` to be applied.
    """
    rules = gauss_patterson(*sizes)
    rule = rules[level]
    nodes = rule.nodes if first else rule.nodes[rule.fresh]
    return nodes, np.stack([_weights_at(other, nodes) for other in rules[level - first :]])


def _weights_at(rule: NestedRule, nodes: Array) -> Array:
    near = np.minimum(np.searchsorted(rule.nodes, nodes - SAME_NODE), len(rule.nodes) - 1)
    return np.where(np.abs(rule.nodes[near] - nodes) < SAME_NODE, rule.weights[near], 0.0)


def _cumulative(x: Array) -> Array:
    """Integrals from −1 of the Lagrange basis on x, up to each node and to 1, halved for the unit interval."""
    count = len(x)
    to_coefficients = np.linalg.inv(legendre.legvander(x, count - 1))
    ends = np.append(x, 1.0)
    values = legendre.legvander(ends, count)
    # ∫₋₁ʸ P_m = (P_{m+1}(y) − P_{m−1}(y)) / (2m + 1)
    integrals = np.empty((count + 1, count))
    integrals[:, 0] = ends + 1
    for m in range(1, count):
        integrals[:, m] = (values[:, m + 1] - values[:, m - 1]) / (2 * m + 1)
    halved: Array = integrals @ to_coefficients / 2
    return halved


def gauss_legendre(count: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights of the Gauss-Legendre rule on (0, 1); exact for polynomials of degree 2·count − 1."""
    x, w = legendre.leggauss(count)
    return torch.tensor((x + 1) / 2), torch.tensor(w / 2)
