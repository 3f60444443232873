"""Reducers over measured sentences, fed in the order of their numbers, and the tables that they make.

The authors' (`Theirs`): per pair the plain mean and standard deviation (of the population) over all (sentence, layer,
target), so that long sentences weigh more; distances as they are; a correlation that is not defined counts 1 where the
columns are close and else 0; columns of the layer map that are 0 throughout are skipped. They know no certificate.

Ours (`Consistency`): per group and pair the mean over sentences of each sentence's mean over its columns, of those that
have converged and are not 0 throughout; the others are counted. Intervals are those of a Poisson bootstrap over
sentences: in each of 1,000 replicates every sentence counts n times, n ~ Poisson(1) drawn from the seed and the
sentence's number; from 2.5 to 97.5 %. It keeps sums alone, however many sentences there are.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lig_core.experiment.measured import Measured
from lig_core.experiment.pairs import ATT, GROUPS, LAYER, MLP, Pair
from lig_core.result.arrays import Array

SUMMARY = (
    "pair_name",
    "pair_key",
    "layer_ig_baseline_group",
    "layer_ig_baseline",
    "att_ig_baseline",
    "mlp_ig_baseline",
    "split",
    "sample_start",
    "sample_end",
    "layer_ig_dir_suffix",
    "composed_dir_suffix",
    "n_pairs",
    "n_samples",
    "l2_mean",
    "l2_std",
    "corr_mean",
    "corr_std",
)
TOP = (
    "rank_in_group",
    "layer_ig_baseline_group",
    "layer_ig_baseline",
    "att_ig_baseline",
    "mlp_ig_baseline",
    "l2_mean",
    "n_pairs",
    "pair_name",
)
IN_TOP = 3
METRICS = ("normalised_distance", "distance", "pearson")
REPLICATES, SEED = 1000, 0
INTERVAL = (2.5, 97.5)
FARTHEST = 8
"""Distances to the head from here on are one group."""
Row = dict[str, Any]


class Theirs:
    """The authors' two tables."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = pairs
        self._count = np.zeros(len(pairs))
        self._mean = np.zeros((2, len(pairs)))
        self._spread = np.zeros((2, len(pairs)))  # sums of squared differences from the mean
        self._sentences = 0

    def add(self, distance: Array, pearson: Array, close: Array, still: Array) -> None:
        """One more sentence: arrays [.., pair]."""
        self._sentences += 1
        correlation = np.where(np.isnan(pearson), close.astype(float), pearson)
        for k in range(len(self.pairs)):
            kept = ~still[..., k]
            count = int(kept.sum())
            if not count:
                continue
            values = np.stack([distance[..., k][kept], correlation[..., k][kept]])
            mean = values.mean(1)
            whole = self._count[k] + count
            shift = mean - self._mean[:, k]
            own = ((values - mean[:, None]) ** 2).sum(1)
            self._spread[:, k] += own + shift**2 * self._count[k] * count / whole
            self._mean[:, k] += shift * count / whole
            self._count[k] = whole

    def summary(self, *, split: str, start: int, end: int) -> list[Row]:
        """A row a pair, in the authors' columns."""
        deviations = np.sqrt(self._spread / np.maximum(self._count, 1))
        return [
            {
                "pair_name": pair.name,
                "pair_key": pair.key,
                **_baselines(pair),
                "split": split,
                "sample_start": start,
                "sample_end": end,
                "layer_ig_dir_suffix": pair.layer_key,
                "composed_dir_suffix": pair.composed_key,
                "n_pairs": int(self._count[k]),
                "n_samples": self._sentences,
                "l2_mean": float(self._mean[0, k]),
                "l2_std": float(deviations[0, k]),
                "corr_mean": float(self._mean[1, k]),
                "corr_std": float(deviations[1, k]),
            }
            for k, pair in enumerate(self.pairs)
        ]


def top_rows(summary: Sequence[Row]) -> list[Row]:
    """The three pairs of smallest l2_mean in each group, in the authors' columns."""
    rows = []
    for group in GROUPS:
        ranked = sorted(
            (row for row in summary if row["layer_ig_baseline_group"] == group), key=lambda row: row["l2_mean"]
        )
        for rank, row in enumerate(ranked[:IN_TOP], 1):
            rows.append({name: {**row, "rank_in_group": rank}[name] for name in TOP})
    return rows


def _baselines(pair: Pair) -> Row:
    return {
        "layer_ig_baseline_group": pair.group,
        "layer_ig_baseline": LAYER[pair.layer][0],
        "att_ig_baseline": ATT[pair.att][0],
        "mlp_ig_baseline": MLP[pair.mlp][0],
    }


class Consistency:
    """Our table, by groups of columns: all, each layer, each relation of the target, each distance to its head."""

    def __init__(self, pairs: Sequence[Pair], layers: Sequence[int]) -> None:
        self.pairs, self.layers = pairs, layers
        self._groups: dict[tuple[str, Any], _Sums] = {}

    def add(self, one: Measured) -> None:
        """One more sentence."""
        weights = np.random.default_rng([SEED, one.number]).poisson(1.0, REPLICATES).astype(float)
        metrics = np.stack([one.normalised_distance, one.distance, one.pearson])
        targets = np.arange(one.distance.shape[1])
        places: dict[tuple[str, Any], tuple[Any, Any]] = {("all", ""): (slice(None), targets)}
        places |= {("layer", layer): ([k], targets) for k, layer in enumerate(self.layers)}
        for kind, values in (("relation", one.about["relations"]), ("head_distance", one.about["head_distances"])):
            for value in dict.fromkeys(v for v in values if v is not None):
                name = value if kind == "relation" else min(value, FARTHEST)
                held = places.get((kind, name), (None, targets[:0]))[1]
                here = targets[[v == value for v in values]]
                places[kind, name] = (slice(None), np.union1d(held, here))
        for name, (layers, where) in places.items():
            sums = self._groups.setdefault(name, _Sums(len(self.pairs)))
            sums.add(
                metrics[:, layers][:, :, where],
                one.converged[layers][:, where],
                one.still[layers][:, where],
                weights,
            )

    def rows(self) -> list[Row]:
        """A row for each group and pair.

        `behind` is how much more normalised distance it has than the best of those pairs that share its layer map, with
        an interval of the paired difference.
        """
        order = {"all": 0, "layer": 1, "relation": 2, "head_distance": 3}
        rows = []
        for (kind, value), sums in sorted(self._groups.items(), key=lambda one: (order[one[0][0]], one[0][1])):
            rows += self._of_group(kind, value, sums)
        return rows

    def _of_group(self, kind: str, value: Any, sums: _Sums) -> list[Row]:
        means, replicates = sums.means(), sums.replicates()
        rows = []
        for k, pair in enumerate(self.pairs):
            row: Row = {"group": kind, "value": value, "pair_key": pair.key, "pair_name": pair.name}
            row |= {"layer_map": pair.group, "sentences": int(sums.sentences[0, k])}
            row |= {"columns": int(sums.kept[k]), "unconverged": int(sums.unconverged[k]), "still": int(sums.still[k])}
            for m, name in enumerate(METRICS):
                low, high = _interval(replicates[:, m, k])
                row |= {name: _number(means[m, k]), f"{name}_low": low, f"{name}_high": high}
            rivals = [n for n, other in enumerate(self.pairs) if other.group == pair.group]
            finite = [n for n in rivals if np.isfinite(means[0, n])]
            if finite:
                best = min(finite, key=lambda n: means[0, n])
                low, high = _interval(replicates[:, 0, k] - replicates[:, 0, best])
                row |= {"behind": _number(means[0, k] - means[0, best]), "behind_low": low, "behind_high": high}
            else:
                row |= {"behind": None, "behind_low": None, "behind_high": None}
            rows.append(row)
        return rows


class _Sums:
    """Sums over sentences of their means [metric, pair], once as they are and once in every replicate."""

    def __init__(self, pairs: int) -> None:
        self.kept, self.unconverged, self.still = (np.zeros(pairs, np.int64) for _ in range(3))
        self.sentences = np.zeros((len(METRICS), pairs))
        self._sum = np.zeros((len(METRICS), pairs))
        self._drawn = np.zeros((2, REPLICATES, len(METRICS), pairs))  # sums, and how many they are of

    def add(self, metrics: Array, converged: Array, still: Array, weights: Array) -> None:
        """metrics [metric, layer, target, pair], converged and still [layer, target, pair], weights [replicate]."""
        kept = converged & ~still
        self.kept += kept.sum((0, 1))
        self.unconverged += (~converged & ~still).sum((0, 1))
        self.still += still.sum((0, 1))
        defined = kept & np.isfinite(metrics)
        counts = defined.sum((1, 2))
        there = (counts > 0).astype(float)
        means = np.where(defined, metrics, 0.0).sum((1, 2)) / np.maximum(counts, 1)
        self._sum += means
        self.sentences += there
        self._drawn[0] += weights[:, None, None] * means
        self._drawn[1] += weights[:, None, None] * there

    def means(self) -> Array:
        """[metric, pair]; NaN over no sentences."""
        with np.errstate(invalid="ignore"):
            return self._sum / self.sentences

    def replicates(self) -> Array:
        """[replicate, metric, pair]; NaN where none was drawn."""
        with np.errstate(invalid="ignore"):
            return self._drawn[0] / self._drawn[1]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> None:
    """Rows as CSV with a header, numbers with the digits that read back as the same."""
    names = list(columns or rows[0])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _interval(values: Array) -> tuple[float | None, float | None]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None, None
    low, high = np.percentile(finite, INTERVAL)
    return float(low), float(high)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
