"""Columns beside their references: how far each is off, by what its status promises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from benchmarks.population import Subject
from lig_core.contract import ExplainRequest
from lig_core.maps.tensors import LayerMaps
from lig_core.quadrature import Attribution

WRONG, DOUBTFUL = 1e-2, 3e-3


@dataclass(frozen=True)
class Column:
    """A column that is judged. `moved`: by rounding of z, NaN where that is not known."""

    kind: str
    map: str
    baseline: str
    target: int
    head: int | None
    status: str
    certified: bool
    reference: bool
    error: float
    entry_error: float | None
    completeness_error: float | None
    nodes: int | None
    rtol: float
    subject: str
    layer: int
    tokens: int
    request: dict[str, Any]
    moved: float | None = None
    cause: str | None = None


@dataclass
class Found:
    """What one stream found."""

    columns: list[Column] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    plain: list[float] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """One column of a result or a reference."""

    map: str
    target: int
    head: int | None
    values: Tensor
    total: float
    status: str
    converged: bool
    entry_error: float | None
    completeness_error: float | None
    nodes: int | None


def rows(maps: LayerMaps) -> list[Row]:
    """The columns of what was computed, in an order of their own."""
    found: list[Row] = []
    if maps.layer is not None:
        found += _rows("layer", maps.layer.attribution)
    if maps.att is not None:
        found += _rows("att", maps.att.attribution, maps.att.heads)
    if maps.mlp is not None:
        found += _rows("mlp", maps.mlp.attribution)
    if maps.composed is not None:
        composed = maps.composed
        both = (
            ("product", composed.product, composed.converged),
            ("conserving", composed.conserving, composed.converged & composed.known),  # NaN in a result where not known
        )
        for name, values, given in both:
            for k, (column, converged) in enumerate(zip(values, given.tolist(), strict=True)):
                label = f"composed, {name}"
                found.append(Row(label, k, None, column, float(column.sum()), "composed", converged, None, None, None))
    return found


def _rows(name: str, attribution: Attribution, heads: Sequence[int] = ()) -> list[Row]:
    entry = getattr(attribution, "entry_error", None)
    width = max(len(heads), 1)
    return [
        Row(
            name,
            k // width,
            heads[k % width] if heads else None,
            attribution.values[k],
            float(attribution.total[k]),
            attribution.status[k],
            bool(attribution.converged[k]),
            None if entry is None else float(entry[k]),
            float(attribution.completeness_error[k]),
            int(attribution.nodes[k]),
        )
        for k in range(len(attribution.values))
    ]


def error_of(row: Row, truth: Row, largest: float) -> float:
    """Σ_i |value_i − truth_i|, relative to what the column's status promises; 0 where both are 0.

    To Σ_i |truth_i|; of a `noise_limited` column to the largest total of its map, which is what it has converged by; of
    a `zero_path`, on which nothing is said to move but rounding, to a thousandth of that (WRONG is 1e-5 of it then).
    Where the truth is nothing but rounding of float64, it is known to what its `completeness_error` says, absolute.
    """
    missed = float((row.values - truth.values).abs().sum())
    if missed == 0 or row.status == truth.status == "zero_path":
        return 0.0
    if truth.status == "zero_path" and missed <= (truth.completeness_error or 0.0):
        return 0.0
    promised = {"noise_limited": largest, "zero_path": 1e-3 * largest}
    size = max(float(truth.values.abs().sum()), promised.get(row.status, 0.0))
    return missed / size if size > 0 else float("inf")


def errors_of(found: list[Row], truth: list[Row]) -> list[float]:
    """The error of each row, by its map's largest total."""
    largest = {each.map: max(row.total for row in truth if row.map == each.map) for each in truth}
    return [error_of(row, right, largest[right.map]) for row, right in zip(found, truth, strict=True)]


def _moves(moved: list[Row], truth: list[Row]) -> list[float | None]:
    return [error if row.converged else None for row, error in zip(moved, errors_of(moved, truth), strict=True)]


def judged(
    kind: str,
    subject: Subject,
    layer: int,
    tokens: int,
    request: ExplainRequest,
    maps: LayerMaps,
    truth: LayerMaps,
    moved: LayerMaps | None,
) -> Iterator[Column]:
    assert request.target_tokens is not None
    name = str(request.granularity)
    baseline = {"att": request.baseline_att, "mlp": request.baseline_mlp}.get(name, request.baseline_layer)
    if name == "mlp":
        baseline += "" if request.u_node == "residual" else ", heads"
        baseline += "" if request.include_residual_connection else ", no bypass"
    known = rows(truth)
    errors = errors_of(rows(maps), known)
    moves = [None] * len(known) if moved is None else _moves(rows(moved), known)
    for row, right, error, move in zip(rows(maps), known, errors, moves, strict=True):
        yield Column(
            kind=kind,
            map=row.map,
            baseline=baseline,
            target=request.target_tokens[row.target],
            head=row.head,
            status=row.status,
            certified=row.converged,
            reference=right.converged and right.status != "noise_limited",  # a ratio of what cancels
            error=error,
            entry_error=row.entry_error,
            completeness_error=row.completeness_error,
            nodes=row.nodes,
            rtol=request.rtol,
            subject=subject.name,
            layer=layer,
            tokens=tokens,
            request=request.model_dump(mode="json", exclude_defaults=True, exclude={"model"}),
            moved=move if right.converged else None,
        )


def with_causes(columns: Sequence[Column], in_double: Sequence[float]) -> list[Column]:
    """Whether the same rule in float64 has the error as well (`quadrature`) or not (`rounding`)."""
    return [
        replace(c, cause="rounding" if precise < c.error / 3 else "quadrature")
        for c, precise in zip(columns, in_double, strict=True)
    ]
