"""The strongest paths through shares, by the absolute value of the product of a path's shares.

A path picks a token at every level and a way between them. The k strongest to each token of a level are among those
that extend the k strongest to each token of the level before, since |share| ≥ 0 keeps their order (k-best Viterbi): so
L levels of T tokens and W ways take O(L · W k T² log(W k T)), not the (W T)^L of all paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lig_core.result.arrays import Array


@dataclass(frozen=True)
class Step:
    """One entry of one layer's map, with the certificate of its column."""

    layer: int
    source: int
    target: int
    share: float
    value: float
    certified: bool
    status: str | None


@dataclass(frozen=True)
class Path:
    """Steps through consecutive layers; `score` is the product of their shares, which no certificate covers."""

    score: float
    steps: tuple[Step, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token at every level, from before the first layer to after the last."""
        return (self.steps[0].source, *(step.target for step in self.steps))


@dataclass(frozen=True)
class Trail:
    """A path as indices: its token at every level, its way between them, the product of its shares."""

    tokens: tuple[int, ...]
    ways: tuple[int, ...]
    score: float


def strongest(
    shares: Sequence[Array], *, source: int | None = None, target: int | None = None, top: int = 10
) -> list[Trail]:
    """The `top` strongest trails, strongest first; equally strong ones in the order of their last sources.

    shares: of each layer [way, source, target]; source, target: the token at either end, None: any.
    """
    count = shares[0].shape[-1]
    scores = np.zeros((count, 1))  # [token, rank]
    scores[slice(None) if source is None else source] = 1.0
    origins: list[Array] = []  # of each layer [rank, target]: index into (way, source, rank)
    for layer in shares:
        ways, ranks = len(layer), scores.shape[1]
        products = np.abs(layer)[:, :, None, :] * scores[None, :, :, None]
        candidates = products.reshape(ways * count * ranks, count)
        best = np.argsort(-candidates, axis=0, kind="stable")[:top]
        origins.append(best)
        scores = np.take_along_axis(candidates, best, 0).T
    ends = scores if target is None else scores[[target]]
    order = np.argsort(-ends.ravel(), kind="stable")[:top]
    found = []
    for place in order[ends.ravel()[order] > 0]:
        token, rank = divmod(int(place), ends.shape[1])
        found.append(_walk_back(shares, origins, token if target is None else target, rank))
    return found


def _walk_back(shares: Sequence[Array], origins: Sequence[Array], token: int, rank: int) -> Trail:
    count = shares[0].shape[-1]
    tokens, ways = [token], []
    for layer in range(len(shares) - 1, -1, -1):
        ranks = 1 if layer == 0 else len(origins[layer - 1])
        way, rest = divmod(int(origins[layer][rank, tokens[-1]]), count * ranks)
        token, rank = divmod(rest, ranks)
        tokens.append(token)
        ways.append(way)
    tokens.reverse()
    ways.reverse()
    score = 1.0
    for layer, (way, i, j) in enumerate(zip(ways, tokens, tokens[1:], strict=False)):
        score *= float(shares[layer][way, i, j])
    return Trail(tuple(tokens), tuple(ways), score)
