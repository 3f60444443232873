"""The report of a run: which composition agrees best with each layer map, with intervals; what was asked, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lig_core.experiment.outputs.plots import TITLES, most_alike, ranked
from lig_core.experiment.outputs.tables import REPLICATES, SEED, Row
from lig_core.experiment.pairs import GROUPS

FEWEST = 5
"""Sentences that an interval is of: of one alone it would have no width."""


def report(rows: Sequence[Row], setup: Mapping[str, Any], *, sentences: int, left_out: Mapping[str, int]) -> str:
    """Markdown."""
    parts = [
        f"# Within-layer consistency: {setup['model']} on {setup['corpus']}",
        "Which composition Σ_h ATT_h[i→j] · MLP[j, h] agrees best with the layer map? Two measures of a column: how "
        "far it is, ‖LAYER − COMPOSED‖₂ / ‖LAYER‖₂, which is 1 for a map of zeros, and how alike in shape, Pearson's "
        "correlation, which does not see a wrong scale. Of each pair of baselines the mean over sentences of each "
        "sentence's mean over its columns, with a 95 % interval in brackets (Poisson bootstrap over sentences, "
        f"{REPLICATES:,} replicates, seed {SEED}; none is given of fewer than {FEWEST} sentences). Distances to "
        "different layer maps are not comparable, so pairs are ranked within each. Columns that have not converged, or "
        "whose layer map is 0 throughout, as that of a causal model's first token under ITB, are left out.",
        "## In short",
        _in_short([held for group in GROUPS if (held := ranked(rows, group))]),
    ]
    for group in GROUPS:
        held = ranked(rows, group)
        if held:
            parts += [f"## {TITLES[group]}", _answer(held), _table(held)]
    parts += ["![Every pair](plots/pairs.svg)", "![By layer](plots/layers.svg)"]
    parts += ["## Nearest by layer", _by_layer(rows)]
    if any(row["group"] == "relation" for row in rows):
        parts += ["## By the target's relation", _by_relation(rows)]
    counted = f"{sentences} sentences measured"
    if left_out:
        counted += "; left out: " + ", ".join(f"{count} ({why})" for why, count in sorted(left_out.items()))
    lines = [f"| {name} | {_plain(value)} |" for name, value in setup.items() if value is not None]
    parts += ["## Set-up and receipt", f"{counted}.", "\n".join(["| | |", "|---|---|", *lines])]
    return "\n\n".join(parts) + "\n"


def _in_short(groups: Sequence[Sequence[Row]]) -> str:
    lines = [
        "| layer map | nearest | most alike | ATT(ITB)+MLP(ATTITBa=0) | ATT(ITB)+MLP(zero) |",
        "|---|---|---|---|---|",
    ]
    for held in groups:
        alike = most_alike(held)
        cells = [
            TITLES[held[0]["layer_map"]],
            f"**{_composition(held[0])}** {_with_interval(held[0], 'normalised_distance')}",
            f"**{_composition(alike)}** {_with_interval(alike, 'pearson')}" if alike else "none",
            *(_both(_of_itb(held, mlp)) for mlp in ("mlp_attitba0", "mlp0")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", "The last two columns: normalised distance, then correlation."])


def _of_itb(held: Sequence[Row], mlp: str) -> Row | None:
    """The pair whose att map is ITB's."""
    return next((row for row in held if row["pair_key"].endswith(f"_att_itb_{mlp}")), None)


def _both(row: Row | None) -> str:
    return f"{_with_interval(row, 'normalised_distance')}; {_with_interval(row, 'pearson')}" if row else "not asked for"


def _composition(row: Row) -> str:
    return str(row["pair_name"].split(" | ")[1])


def _answer(held: Sequence[Row]) -> str:
    best = held[0]
    said = f"Nearest: **{_composition(best)}**, {_with_interval(best, 'normalised_distance')}."
    if len(held) > 1:
        second = held[1]
        sure = second["behind_low"] is not None and second["behind_low"] > 0
        verdict = "the interval of the difference excludes 0" if sure else "the interval of the difference includes 0"
        said += f" Next: {_composition(second)}, behind by {_with_interval(second, 'behind')}; {verdict}."
    one, other = (_of_itb(held, mlp) for mlp in ("mlp_attitba0", "mlp0"))
    if one and other and one["pearson"] is not None and other["pearson"] is not None:
        first, last = sorted((one, other), key=lambda row: row["normalised_distance"])
        alike = max((one, other), key=lambda row: row["pearson"])
        said += (
            f" With ATT(ITB), MLP({_mlp(first)}) is nearer than MLP({_mlp(last)}), and MLP({_mlp(alike)}) more alike."
        )
    return said


def _mlp(row: Row) -> str:
    return _composition(row).split("MLP(")[1].removesuffix(")")


def _table(held: Sequence[Row]) -> str:
    lines = ["| composition | normalised distance | behind the first | distance | Pearson | columns | unconverged |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in held:
        behind = "" if row is held[0] else _with_interval(row, "behind")
        cells = [_with_interval(row, name) for name in ("normalised_distance", "distance", "pearson")]
        numbers = [f"{row['columns']:,}", f"{row['unconverged']:,}"]
        lines.append("| " + " | ".join([_composition(row), cells[0], behind, *cells[1:], *numbers]) + " |")
    return "\n".join(lines)


def _by_layer(rows: Sequence[Row]) -> str:
    groups = [group for group in GROUPS if ranked(rows, group)]
    lines = ["| layer | " + " | ".join(TITLES[group] for group in groups) + " |", "|---" * (len(groups) + 1) + "|"]
    for layer in sorted({row["value"] for row in rows if row["group"] == "layer"}):
        here = [row for row in rows if row["group"] == "layer" and row["value"] == layer]
        cells = []
        for group in groups:
            best = ranked(here, group, of="layer")[:1]
            cells.append(
                f"{best[0]['pair_name'].split(' | ')[1]}, {best[0]['normalised_distance']:.3f}" if best else ""
            )
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_relation(rows: Sequence[Row]) -> str:
    groups = [group for group in GROUPS if ranked(rows, group)]
    best = {group: ranked(rows, group)[0]["pair_key"] for group in groups}
    lines = ["The nearest pair of each layer map, by the relation of the target to its head: normalised distance."]
    lines += ["", "| relation | columns | " + " | ".join(TITLES[group] for group in groups) + " |"]
    lines.append("|---" * (len(groups) + 2) + "|")
    held = {(row["value"], row["pair_key"]): row for row in rows if row["group"] == "relation"}
    for relation in sorted({value for value, _ in held}):
        cells = [_with_interval(held[relation, key], "normalised_distance") for key in best.values()]
        count = held[relation, next(iter(best.values()))]["columns"]
        lines.append(f"| {relation} | {count:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _with_interval(row: Row, name: str) -> str:
    if row[name] is None:
        return "none"
    if row[f"{name}_low"] is None or row["sentences"] < FEWEST:
        return f"{row[name]:.4f}"
    return f"{row[name]:.4f} [{row[f'{name}_low']:.4f}, {row[f'{name}_high']:.4f}]"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
