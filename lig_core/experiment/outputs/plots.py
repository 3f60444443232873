"""Our table as pictures: every pair with its interval, and the layers of the best pair of each layer map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lig_core.experiment.outputs.tables import Row
from lig_core.experiment.pairs import GROUPS

TITLES = {"itb": "LIG(ITB)", "itb_zero_ratio": "LIG(LAYER-ITB-zeroRatio)", "zero": "LIG(Zero)"}


def ranked(rows: Sequence[Row], group: str, *, of: str = "all") -> list[Row]:
    """The pairs of one layer map, least normalised distance first."""
    held = [r for r in rows if r["group"] == of and r["layer_map"] == group and r["normalised_distance"] is not None]
    return sorted(held, key=lambda row: row["normalised_distance"])


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
            axes.set_title(TITLES[group], loc="left")
            axes.grid(axis="x", alpha=0.3)
        axes.set_xlabel("‖LAYER − COMPOSED‖₂ / ‖LAYER‖₂, mean over sentences, 95 %")
        layers = Figure(figsize=(7, 3), layout="constrained")
        axes = layers.subplots()
        for group in groups:
            key = ranked(rows, group)[0]["pair_key"]
            held = [row for row in rows if row["group"] == "layer" and row["pair_key"] == key]
            where = [row["value"] for row in held]
            axes.plot(where, [row["normalised_distance"] for row in held], "o-", ms=3, label=held[0]["pair_name"])
            low, high = ([row[f"normalised_distance_{end}"] for row in held] for end in ("low", "high"))
            axes.fill_between(where, low, high, alpha=0.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("layer")
        axes.set_ylabel("normalised distance")
        axes.legend()
        paths = [folder / "pairs.svg", folder / "layers.svg"]
        for figure, path in zip((pairs, layers), paths, strict=True):
            figure.savefig(path, metadata={"Date": None})
    return paths
