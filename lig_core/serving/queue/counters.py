"""The counts of a queue's jobs, in a hash in Redis: increased by the scripts that move jobs, read for monitoring.

A counter's field is its name, or `name|label value`; a histogram has a field per bucket (`name<=bound`), not
cumulative, and `name:sum`.
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Outcome = Literal["delivered", "retried", "given_up", "dropped"]
"""The outcome of an attempt to tell a webhook; `dropped`: there was nobody to tell, or nothing any more."""

COUNTERS: Mapping[str, tuple[str, ...]] = {
    "jobs_accepted": (),
    "jobs_ended": ("succeeded", "failed", "cancelled"),
    "attempts": (),
    "attempts_together": (),
    "jobs_refused": ("queue_full", "quota_exceeded"),
    "coalesced": ("running", "finished"),
    "retries": (),
    "abandoned": (),
    "dead_letters": (),
    "model_loads": (),
    "unconverged_targets": (),
    "webhooks": get_args(Outcome),
}
"""Every counter, with the values of its one label where it has one."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
NODES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
HISTOGRAMS: Mapping[str, tuple[float, ...]] = {
    "wait_seconds": SECONDS,
    "load_seconds": SECONDS,
    "compute_seconds": SECONDS,
    "nodes": NODES,
}
"""Every histogram, with the upper bounds of its buckets; one more has no bound."""


@dataclass(frozen=True)
class Histogram:
    """How often values fell under each bound and over the one before it; the last count has no bound."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True)
class Counters:
    """All counters by name and label value ("" without one), all histograms by name; all are there, from 0 on."""

    counters: Mapping[str, Mapping[str, float]]
    histograms: Mapping[str, Histogram]


def parse(stored: Mapping[bytes, bytes]) -> Counters:
    """As they stand; `stored` is the whole hash."""
    values = {}
    for key, value in stored.items():
        with contextlib.suppress(ValueError):  # what is no number, nobody here counted
            if math.isfinite(number := float(value)):
                values[key.decode()] = number
    return Counters(
        counters={
            name: {label: values.get(f"{name}|{label}" if label else name, 0.0) for label in labels or ("",)}
            for name, labels in COUNTERS.items()
        },
        histograms={name: _histogram(name, bounds, values) for name, bounds in HISTOGRAMS.items()},
    )


def buckets(name: str, values: Mapping[int, int]) -> dict[str, int]:
    """How often values fall into each bucket of a histogram, by the bucket's name; `values` maps values to times."""
    bounds, counts = HISTOGRAMS[name], dict[str, int]()
    for value, times in values.items():
        at = bisect_left(bounds, value)
        label = f"{bounds[at]:g}" if at < len(bounds) else "inf"
        counts[label] = counts.get(label, 0) + times
    return counts


def _histogram(name: str, bounds: tuple[float, ...], values: Mapping[str, float]) -> Histogram:
    counts = [int(values.get(f"{name}<={bound:g}", 0)) for bound in (*bounds, float("inf"))]
    return Histogram(bounds, tuple(counts), values.get(f"{name}:sum", 0.0))
