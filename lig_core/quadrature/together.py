"""Several integrations as one: texts that share a sequence are integrated each for itself and asked for together.

Each integration decides by its own columns alone, as if there were no others; what it asks of its integrand waits until
all have asked, and goes to the engine in one call of a kind. Integrations are greenlets: they take turns in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

from lig_core.quadrature.integrand import Array, Attribution, Integrand, Parts, Quadrature, Start, Sums


@dataclass(frozen=True)
class Share:
    """One text's part of an integrand: its columns, and its sources."""

    columns: slice
    sources: slice


@dataclass(frozen=True)
class _Question:
    """A call of an integrand: of which function, at nodes a, for columns of the whole, with weights or without."""

    function: str
    a: Array
    columns: Array
    weights: Array | None

    @property
    def kind(self) -> tuple[bool, int, int, str]:
        """Questions of a kind are asked as one. Kinds are in the order of an integration: lengths, then more nodes."""
        rules = 0 if self.weights is None else len(self.weights)
        return rules > 0, len(self.a), rules, self.function


class _Whole:
    """An integrand of all texts, and what is known of all its columns."""

    def __init__(self, integrand: Integrand) -> None:
        self.integrand = integrand
        growth = integrand.growth()
        self.total, self.growth = integrand.totals().numpy(), None if growth is None else growth.numpy()
        self.reference = integrand.reference.numpy()

    @cached_property
    def parts(self) -> Parts | None:
        return self.integrand.parts(torch.arange(self.integrand.num_columns))

    @cached_property
    def known(self) -> tuple[Array | None, Array | None]:
        """Of the parts: widths, and switches."""
        told = (None, None) if self.parts is None else (self.parts.widths, self.parts.switches)
        widths, switches = (None if x is None else x.numpy() for x in told)
        return widths, switches

    def answers(self, questions: Sequence[_Question]) -> list[tuple[Array | None, ...]]:
        """The answers to questions of one kind, each a tuple of arrays whose second dimension is columns."""
        first = questions[0]
        counts = [len(question.columns) for question in questions]
        if len(questions) == 1:
            a, columns, weights = first.a, first.columns, first.weights
        else:
            columns = np.concatenate([question.columns for question in questions])
            a = np.concatenate([_of_columns(q.a, n, 1) for q, n in zip(questions, counts, strict=True)], -1)
            pairs = [(q.weights, n) for q, n in zip(questions, counts, strict=True) if q.weights is not None]
            weights = np.concatenate([_of_columns(x, n, 2) for x, n in pairs], -1) if pairs else None
        arrays = self._answer(first.function, a, columns, weights)
        ends = np.cumsum([0, *counts]).tolist()
        return [tuple(None if x is None else x[:, low:high] for x in arrays) for low, high in pairwise(ends)]

    def _answer(self, function: str, a: Array, columns: Array, weights: Array | None) -> tuple[Array | None, ...]:
        at, of = torch.from_numpy(a), torch.from_numpy(columns)
        if weights is not None:
            sums = self.integrand.accumulate(at, of, torch.from_numpy(weights))
            witness = None if sums.witness is None else sums.witness.numpy()
            return sums.lengths.numpy(), sums.slopes.numpy(), sums.weighted.numpy(), witness
        if function == "parts":
            assert self.parts is not None and self.parts.lengths is not None
            return (self.parts.lengths(at, of).numpy(),)
        return (getattr(self.integrand, function)(at, of).numpy(),)


class _OneText:
    """An integrand's part of one text, to be used in a greenlet: its calls are questions to the one that runs it."""

    def __init__(self, whole: _Whole, share: Share) -> None:
        self._whole, self._share = whole, share
        of = whole.integrand
        self.start: Start = of.start
        self.witnessed, self.opaque, self.kinked, self.routed = of.witnessed, of.opaque, of.kinked, of.routed
        self.dtype, self.over_tokens = of.dtype, of.over_tokens
        self.num_columns = share.columns.stop - share.columns.start
        self.num_sources = len(range(of.num_sources)[share.sources])

    @property
    def reference(self) -> Tensor:
        return torch.from_numpy(self._whole.reference[self._share.columns])

    def totals(self) -> Tensor:
        return torch.from_numpy(self._whole.total[self._share.columns])

    def growth(self) -> Tensor | None:
        growth = self._whole.growth
        return None if growth is None else torch.from_numpy(growth[self._share.columns, self._share.sources])

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        (lengths,) = self._ask("lengths", a, columns)
        return torch.from_numpy(lengths)

    def shares(self, a: Tensor, columns: Tensor) -> Tensor:
        (shares,) = self._ask("shares", a, columns)
        return torch.from_numpy(shares[..., self._share.sources])

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        lengths, slopes, *by_source = self._ask("accumulate", a, columns, weights)
        weighted, witness = (None if x is None else torch.from_numpy(x[..., self._share.sources]) for x in by_source)
        assert weighted is not None
        return Sums(torch.from_numpy(lengths), torch.from_numpy(slopes), weighted, witness)

    def parts(self, columns: Tensor) -> Parts | None:
        parts = self._whole.parts
        if parts is None:
            return None
        chosen = columns.numpy() + self._share.columns.start
        widths, switches = (None if x is None else torch.from_numpy(x[chosen]) for x in self._whole.known)
        return Parts(widths, None if parts.lengths is None else self._part, switches)

    def _part(self, a: Tensor, columns: Tensor) -> Tensor:
        (lengths,) = self._ask("parts", a, columns)
        return torch.from_numpy(lengths)

    def _ask(self, function: str, a: Tensor, columns: Tensor, weights: Tensor | None = None) -> Any:
        parent = getcurrent().parent
        assert parent is not None
        here = columns.numpy() + self._share.columns.start
        return parent.switch(_Question(function, a.numpy(), here, None if weights is None else weights.numpy()))


@dataclass(frozen=True)
class Together:
    """A quadrature for an integrand of several texts: each text's columns by `each`, as it would alone.

    targets: how many of the integrand's targets each text has; tokens: each text's in the sequence.
    """

    each: Quadrature
    targets: Sequence[int]
    tokens: Sequence[slice]

    @property
    def rtol(self) -> float:
        """That of each."""
        return self.each.rtol

    @property
    def name(self) -> str:
        """That of each."""
        return self.each.name

    def integrate(self, integrand: Integrand) -> Attribution:
        """All texts' columns; a source of another text gives exactly 0."""
        width = integrand.num_columns // max(1, sum(self.targets))  # heads, where a column is of one
        shares = [self.share(k, width, over_tokens=integrand.over_tokens) for k in range(len(self.targets))]
        whole = _Whole(integrand)
        found = self._run([_integration(self.each, _OneText(whole, share)) for share in shares])
        values = torch.zeros(integrand.num_columns, integrand.num_sources, dtype=torch.float64)
        for share, one in zip(shares, found, strict=True):
            values[share.columns, share.sources] = one.values
        return Attribution(
            values=values,
            total=torch.cat([one.total for one in found]),
            largest_total=torch.cat([one.largest_total for one in found]),
            completeness_error=torch.cat([one.completeness_error for one in found]),
            entry_error=torch.cat([one.entry_error for one in found]),
            nodes=torch.cat([one.nodes for one in found]),
            converged=torch.cat([one.converged for one in found]),
            status=tuple(status for one in found for status in one.status),
        )

    def of(self, chosen: Tensor) -> Together:
        """That of some of the targets [targets]; texts with none are left out."""
        counts = [int(part.sum()) for part in chosen.cpu().split(list(self.targets))]
        kept = [k for k, count in enumerate(counts) if count]
        return replace(self, targets=[counts[k] for k in kept], tokens=[self.tokens[k] for k in kept])

    def share(self, text: int, width: int, *, over_tokens: bool) -> Share:
        """A text's part of an integrand that has `width` columns for each target."""
        first = sum(self.targets[:text])
        columns = slice(first * width, (first + self.targets[text]) * width)
        return Share(columns, self.tokens[text] if over_tokens else slice(None))

    @staticmethod
    def _run(integrations: Sequence[_Integration]) -> list[Attribution]:
        """Let all go on until each is done, and answer what they ask.

        The kind of the fewest nodes is answered first: those behind catch up, and ask with the others.
        """
        for one in integrations:
            one.go_on(None)
        while kinds := sorted({one.question.kind for one in integrations if one.question is not None}):
            alike = [one for one in integrations if one.question is not None and one.question.kind == kinds[0]]
            answers = alike[0].whole.answers([one.question for one in alike if one.question is not None])
            for one, answer in zip(alike, answers, strict=True):
                one.go_on(answer)
        return [one.result for one in integrations if one.result is not None]


@dataclass
class _Integration:
    """One text's, as far as it has come: what it asks, or its result."""

    whole: _Whole
    run: greenlet
    question: _Question | None = None
    result: Attribution | None = field(default=None)

    def go_on(self, answer: tuple[Array | None, ...] | None) -> None:
        came = self.run.switch() if answer is None else self.run.switch(answer)
        self.question = came if isinstance(came, _Question) else None
        self.result = came if isinstance(came, Attribution) else None


def _integration(each: Quadrature, part: _OneText) -> _Integration:
    integrate: Callable[[], Attribution] = lambda: each.integrate(part)  # noqa: E731
    return _Integration(part._whole, greenlet(integrate))


def _of_columns(x: Array, count: int, dims: int) -> Array:
    """Nodes (1 dimension), or weights at nodes (2), as each column's own."""
    return np.broadcast_to(x[..., None], (*x.shape, count)) if x.ndim == dims else x
