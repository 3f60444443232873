"""Several integrations as one: texts that share a sequence are integrated each for itself and asked for together.

Each integration decides by its own columns alone, as if there were no others; what it asks of its integrand waits until
all have asked, and goes to the engine in one call of a kind. Integrations are greenlets: they take turns in one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from greenlet import getcurrent, greenlet
from torch import Tensor

from lig_core.quadrature.integrand import Attribution, Integrand, Parts, Quadrature, Start, Sums


@dataclass(frozen=True)
class Share:
    """One text's part of an integrand: its columns, and its sources."""

    columns: slice
    sources: slice


@dataclass(frozen=True)
class _Question:
    """A call of an integrand: of which function, at nodes a, for columns of the whole, with weights or without."""

    function: str
    a: Tensor
    columns: Tensor
    weights: Tensor | None

    @property
    def kind(self) -> Hashable:
        """Questions of a kind are asked as one."""
        return self.function, len(self.a), None if self.weights is None else len(self.weights)


class _Whole:
    """An integrand of all texts, and what is known of all its columns."""

    def __init__(self, integrand: Integrand) -> None:
        self.integrand = integrand
        self.total, self.growth = integrand.totals(), integrand.growth()
        self.reference = integrand.reference

    @cached_property
    def parts(self) -> Parts | None:
        return self.integrand.parts(torch.arange(self.integrand.num_columns))

    def answers(self, questions: Sequence[_Question]) -> list[Tensor | Sums]:
        """The answers to questions of one kind."""
        first = questions[0]
        if len(questions) == 1:
            return [self._answer(first.function, first.a, first.columns, first.weights)]
        counts = [len(question.columns) for question in questions]
        columns = torch.cat([question.columns for question in questions])
        a = torch.cat([_of_columns(q.a, n) for q, n in zip(questions, counts, strict=True)], -1)
        weights = None
        if first.weights is not None:
            each = [
                _of_columns(q.weights, n, 2) for q, n in zip(questions, counts, strict=True) if q.weights is not None
            ]
            weights = torch.cat(each, -1)
        answer = self._answer(first.function, a, columns, weights)
        if isinstance(answer, Tensor):
            return list(answer.split(counts, 1))
        parts = [x if x is None else x.split(counts, 1) for x in (answer.lengths, answer.slopes, answer.weighted)]
        witness = [None] * len(counts) if answer.witness is None else answer.witness.split(counts, 1)
        return [Sums(*each) for each in zip(*parts, witness, strict=True)]

    def _answer(self, function: str, a: Tensor, columns: Tensor, weights: Tensor | None) -> Tensor | Sums:
        if weights is not None:
            return self.integrand.accumulate(a, columns, weights)
        if function == "parts":
            assert self.parts is not None and self.parts.lengths is not None
            return self.parts.lengths(a, columns)
        answer: Tensor = getattr(self.integrand, function)(a, columns)
        return answer


class _OneText:
    """An integrand's part of one text, to be used in a greenlet: its calls are questions to the one that runs it."""

    def __init__(self, whole: _Whole, share: Share) -> None:
        self._whole, self._share = whole, share
        of = whole.integrand
        self.start: Start = of.start
        self.witnessed, self.opaque, self.dtype, self.over_tokens = of.witnessed, of.opaque, of.dtype, of.over_tokens
        self.num_columns = share.columns.stop - share.columns.start
        self.num_sources = len(range(of.num_sources)[share.sources])

    @property
    def reference(self) -> Tensor:
        return self._whole.reference[self._share.columns]

    def totals(self) -> Tensor:
        return self._whole.total[self._share.columns]

    def growth(self) -> Tensor | None:
        growth = self._whole.growth
        return None if growth is None else growth[self._share.columns, self._share.sources]

    def lengths(self, a: Tensor, columns: Tensor) -> Tensor:
        return self._ask("lengths", a, columns)

    def shares(self, a: Tensor, columns: Tensor) -> Tensor:
        return self._ask("shares", a, columns)[..., self._share.sources]

    def accumulate(self, a: Tensor, columns: Tensor, weights: Tensor) -> Sums:
        sums = self._ask("accumulate", a, columns, weights)
        witness = None if sums.witness is None else sums.witness[..., self._share.sources]
        return Sums(sums.lengths, sums.slopes, sums.weighted[..., self._share.sources], witness)

    def parts(self, columns: Tensor) -> Parts | None:
        known = self._whole.parts
        if known is None:
            return None
        widths = None if known.widths is None else known.widths[columns + self._share.columns.start]
        lengths = None if known.lengths is None else lambda a, c: self._ask("parts", a, c)
        return Parts(widths, lengths)

    def _ask(self, function: str, a: Tensor, columns: Tensor, weights: Tensor | None = None) -> Any:
        parent = getcurrent().parent
        assert parent is not None
        return parent.switch(_Question(function, a, columns + self._share.columns.start, weights))


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
            completeness_error=torch.cat([one.completeness_error for one in found]),
            entry_error=torch.cat([one.entry_error for one in found]),
            nodes=torch.cat([one.nodes for one in found]),
            converged=torch.cat([one.converged for one in found]),
            status=tuple(status for one in found for status in one.status),
        )

    def share(self, text: int, width: int, *, over_tokens: bool) -> Share:
        """A text's part of an integrand that has `width` columns for each target."""
        first = sum(self.targets[:text])
        columns = slice(first * width, (first + self.targets[text]) * width)
        return Share(columns, self.tokens[text] if over_tokens else slice(None))

    @staticmethod
    def _run(integrations: Sequence[_Integration]) -> list[Attribution]:
        """Let all go on until each is done, and answer what they ask, by kinds."""
        for one in integrations:
            one.go_on(None)
        while waiting := [one for one in integrations if one.question is not None]:
            kinds: dict[Hashable, list[_Integration]] = {}
            for one in waiting:
                assert one.question is not None
                kinds.setdefault(one.question.kind, []).append(one)
            for alike in kinds.values():
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

    def go_on(self, answer: Tensor | Sums | None) -> None:
        came = self.run.switch() if answer is None else self.run.switch(answer)
        self.question = came if isinstance(came, _Question) else None
        self.result = came if isinstance(came, Attribution) else None


def _integration(each: Quadrature, part: _OneText) -> _Integration:
    integrate: Callable[[], Attribution] = lambda: each.integrate(part)  # noqa: E731
    return _Integration(part._whole, greenlet(integrate))


def _of_columns(x: Tensor, count: int, dims: int = 1) -> Tensor:
    """Nodes, or weights at nodes (2 dimensions), as each column's own."""
    return x.unsqueeze(-1).expand(*x.shape, count) if x.dim() == dims else x
