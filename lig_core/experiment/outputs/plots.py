"""Our table as pictures: every pair with its interval; by layer, the nearest and the most alike pair of each map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lig_core.experiment.outputs.tables import Row
from lig_core.experiment.pairs import GROUPS

TITLES = {"itb": "LIG(ITB)", "itb_zero_ratio": "LIG(LAYER-ITB-zeroRatio)", "zero": "LIG(Zero)"}


def ranked(rows: Sequence[Row], group: str, *, of: str = "all") -> list[Row]:
    """The pairs of one layer map, least normalised distance first."""
    held = [r for r in rows if r["group"] == of and r["layer_map"] == group and r["normalised_distance"] is not None]
    return sorted(held, key=lambda row: row["normalised_distance"])


def most_alike(ranked_rows: Sequence[Row]) -> Row | None:
    """The pair of largest correlation; None where none is defined."""
    return max((row for row in ranked_rows if row["pearson"] is not None), key=lambda row: row["pearson"], default=None)


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """pairs.svg and layers.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    groups = [group for group in GROUPS if ranked(rows, group)]
    with mpl.rc_context({"svg.hashsalt": "lig", "font.size": 8}):
        pairs = Figure(figsize=(7, 1 + 1.6 * len(groups)), layout="constrained")
        for axes, group in zip(pairs.subplots(len(groups), squeeze=False)[:, 0], groups, strict=True):
            held = ranked(rows, group)[::-1]
            values = [row["normalised_distance"] for row in held]
            ends = [
                [row["normalised_distance"] - row["normalised_distance_low"] for row in held],
                [row["normalised_distance_high"] - row["normalised_distance"] for row in held],
            ]
            axes.errorbar(values, range(len(held)), xerr=[[max(0.0, x) for x in end] for end in ends], fmt="o", ms=3)
            axes.set_yticks(range(len(held)), [row["pair_name"].split(" | ")[1] for row in held])
            axes.axvline(1, color="grey", lw=0.8, ls=":")  # a map of zeros
            axes.set_title(TITLES[group], loc="left")
            axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel("‖LAYER − COMPOSED‖₂ / ‖LAYER‖₂, mean over sentences, 95 % (dotted: a map of zeros)")
        layers = Figure(figsize=(7, 5), layout="constrained")
        above, below = layers.subplots(2, sharex=True)
        for group in groups:
            held = ranked(rows, group)
            _by_layer(above, rows, held[0], "normalised_distance")
            if alike := most_alike(held):
                _by_layer(below, rows, alike, "pearson")
        above.axhline(1, color="grey", lw=0.8, ls=":")
        above.set_ylabel("normalised distance")
        below.set_ylabel("Pearson")
        below.xaxis.set_major_locator(MaxNLocator(integer=True))
        below.set_xlabel("layer")
        for axes, title in ((above, "the nearest pair"), (below, "the most alike pair")):
            axes.set_title(f"Of each layer map, {title}", loc="left")
            axes.legend()
        paths = [folder / "pairs.svg", folder / "layers.svg"]
        for figure, path in zip((pairs, layers), paths, strict=True):
            figure.savefig(path, metadata={"Date": None})
    return paths


def _by_layer(axes: Axes, rows: Sequence[Row], pair: Row, name: str) -> None:
    """One pair's measure over the layers, with its interval."""
    held = [row for row in rows if row["group"] == "layer" and row["pair_key"] == pair["pair_key"]]
    held = [row for row in held if row[name] is not None]
    where = [row["value"] for row in held]
    axes.plot(where, [row[name] for row in held], "o-", ms=3, label=pair["pair_name"])
    low, high = ([row[f"{name}_{end}"] for row in held] for end in ("low", "high"))
    axes.fill_between(where, low, high, alpha=0.2)
