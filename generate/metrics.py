"""Writes the table of all metrics from their own descriptions: `python -m generate.metrics`."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.metrics_core import Metric

from lig_core.serving.queue.workers import Worker
from service.jobs.queue_state import QueueState
from service.metrics.queue_numbers import families
from service.metrics.this_process import collectors
from service.metrics.traffic import HttpMetrics

FILE = Path(__file__).parents[1] / "docs" / "metrics.md"
HEAD = """# Metrics

`/metrics` is Prometheus text. Times are seconds, sizes bytes. Counters and gauges with known label values are there
from the start, at 0. No id, key, owner or text is ever a label.

`lig_http_…`, `lig_build_info` and `process_…` (on Linux) are of the API process that is asked, since it started: add
them up over processes. All others are read from Redis and the same from every process: take one, as in
`max by (priority) (lig_queue_length)`. Their counters live as long as Redis's data. Where Redis does not answer,
`lig_redis_up` is 0 and they are absent.

This table is made by `make metrics` from the modules of `service/metrics/`.

| metric | kind | labels | what it says |
|---|---|---|---|
"""
NOT_LABELS = {"le"}


def table() -> str:
    """The page as it stands in the repository."""
    return HEAD + "".join(_row(metric) for metric in exported())


def exported() -> list[Metric]:
    """Every metric of the page, each with a sample at least."""
    return [*_process(), *_queue()]


def _process() -> list[Metric]:
    metrics = HttpMetrics(collectors())
    metrics.requests.labels("GET", "/livez", "200")
    metrics.seconds.labels("GET", "/livez")
    return list(metrics.registry.collect())


def _queue() -> list[Metric]:
    holds = {"model": "minilm", "dtype": "float32", "bytes": 0}
    return list(families(QueueState(workers=(Worker("", "", 0, "idle", models=(holds,)),))))


def _row(metric: Metric) -> str:
    labels = dict.fromkeys(label for sample in metric.samples for label in sample.labels if label not in NOT_LABELS)
    listed = ", ".join(f"{label}{_values(metric, label)}" for label in labels) or "–"
    suffix = "_total" if metric.type == "counter" else ""
    return f"| `{metric.name}{suffix}` | {metric.type} | {listed} | {metric.documentation} |\n"


def _values(metric: Metric, label: str) -> str:
    """The values of a label, where there is more than one: then they are all there are."""
    values = dict.fromkeys(sample.labels[label] for sample in metric.samples if label in sample.labels)
    return f" ({', '.join(values)})" if len(values) > 1 else ""


if __name__ == "__main__":
    FILE.write_text(table(), encoding="utf-8")
