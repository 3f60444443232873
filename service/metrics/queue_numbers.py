"""Prometheus metrics of the queue, the jobs and the workers, read from Redis whenever the page is asked for."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from typing_extensions import override

from lig_core.serving.queue.counters import Histogram
from lig_core.serving.queue.redis_faults import fault_of
from lig_core.serving.queue.workers import Worker
from service.jobs.queue_state import QueueState, read
from service.jobs.redis import connect
from service.settings import Settings

TIMEOUT_SECONDS = 1.0
"""Prometheus gives up after ten by default, and the rest of the page must reach it before."""

log = logging.getLogger(__name__)

COUNTERS = {
    "jobs_accepted": ("", "Jobs accepted."),
    "jobs_ended": ("status", "Jobs that ended."),
    "jobs_refused": ("reason", "Submissions refused for the time being."),
    "coalesced": ("computation", "Jobs that needed no run of their own: they joined one that was there."),
    "attempts": ("", "Runs begun, those that went back to the queue included."),
    "attempts_together": ("", "Of these, those of texts that were computed in one sequence with others."),
    "retries": ("", "Runs that died and were queued again."),
    "abandoned": ("", "Of the retries, those whose worker was gone as well."),
    "dead_letters": ("", "Computations given up because the process computing them died too often."),
    "model_loads": ("", "Models loaded for a job."),
    "unconverged_targets": ("", "Columns of maps that missed their tolerance."),
    "webhooks": ("outcome", "Attempts to tell a webhook, by what came of them."),
}
"""The label, if there is one, and the description of each counter of lig_core.serving.queue."""

HISTOGRAMS = {
    "wait_seconds": "From acceptance to the start of the first run.",
    "load_seconds": "Loading a model, where it was not in memory.",
    "compute_seconds": "Computing a result, without loading the model.",
    "nodes": "Quadrature nodes that a column of a map needed.",
}

WORKER_STATES = ("idle", "busy", "started", "suspended")
"""RQ's words."""
MOST_MODELS = 50
OTHER_MODELS = ("other", "other")


@dataclass(frozen=True)
class Held:
    """One model in one precision: in how many workers' memory, and the bytes it takes in all of them."""

    copies: int = 0
    size: int = 0

    def __add__(self, other: Held) -> Held:
        return Held(self.copies + other.copies, self.size + other.size)


class QueueMetrics(Collector):
    """The state in Redis. Where that does not answer, `lig_redis_up` is 0 and the rest absent: zeros would be wrong."""

    def __init__(self, redis_url: str, settings: Settings) -> None:
        self._redis = connect(redis_url, settings, timeout=min(TIMEOUT_SECONDS, settings.redis_timeout))
        self._queue, self._max_backlog = settings.queue, settings.max_backlog

    def describe(self) -> Iterator[Metric]:
        """The names; asked when the collector is registered, whether or not Redis is there yet."""
        yield from families(QueueState())

    @override
    def collect(self) -> Iterator[Metric]:
        try:
            state = read(self._redis, self._queue, self._max_backlog)
        except RedisError as error:
            log.warning("metrics: %s (%s)", fault_of(error).value, error)
            yield _up(0)
            return
        yield from families(state)


def families(state: QueueState) -> Iterator[Metric]:
    """Every metric of a state: a family of samples each."""
    lines, models = state.lines.items(), models_held(state.workers).items()
    states = {**dict.fromkeys(WORKER_STATES, 0), **Counter(worker.state for worker in state.workers)}
    resident = sum(worker.resident or 0 for worker in state.workers)
    device = sum(worker.device or 0 for worker in state.workers)
    yield _up(1)
    yield _gauge("queue_length", "Computations that wait.", "priority", {p: line.length for p, line in lines})
    yield _gauge(
        "queue_cost_seconds", "Estimated seconds of what waits.", "priority", {p: line.cost for p, line in lines}
    )
    yield _gauge(
        "queue_oldest_seconds", "How long the oldest one has waited.", "priority", {p: line.oldest for p, line in lines}
    )
    yield _one("backlog_seconds", "Estimated seconds of all that has not ended.", state.backlog)
    yield _one("backlog_limit_seconds", "The backlog beyond which work is refused.", state.limit)
    yield _gauge("computations", "Computations there are; jobs may share one.", "state", state.computations)
    yield _one("dead_letters_kept", "Dead letters that have not expired.", state.sizes["dead"])
    yield _one("webhooks_waiting", "Webhooks to be told, now or later.", state.sizes["webhooks"])
    yield _gauge("workers", "Workers alive.", "state", states)
    yield _one("workers_resident_bytes", "Memory of the processes with the models, of all workers.", resident)
    yield _one("workers_device_bytes", "GPU memory that all workers hold.", device)
    yield _by_model("models_held", "Workers that hold a model.", {key: held.copies for key, held in models})
    yield _by_model("models_held_bytes", "Bytes of it in all of them.", {key: held.size for key, held in models})
    for name, (label, text) in COUNTERS.items():
        counter = CounterMetricFamily(f"lig_{name}", text, labels=[label] if label else [])
        for value, count in state.counted.counters[name].items():
            counter.add_metric([value] if label else [], count)
        yield counter
    for name, text in HISTOGRAMS.items():
        yield _histogram(name, text, state.counted.histograms[name])


def models_held(workers: Iterable[Worker]) -> dict[tuple[str, str], Held]:
    """By name and dtype, the largest ones; callers choose the names, so there may be many."""
    held: dict[tuple[str, str], Held] = {}
    for model in (model for worker in workers for model in worker.models):
        key = model["model"], model["dtype"]
        held[key] = held.get(key, Held()) + Held(1, model["bytes"])
    ordered = sorted(held.items(), key=lambda item: -item[1].size)
    shown = dict(ordered[:MOST_MODELS])
    for _, each in ordered[MOST_MODELS:]:
        shown[OTHER_MODELS] = shown.get(OTHER_MODELS, Held()) + each
    return shown


def _up(value: int) -> Metric:
    return _one(
        "redis_up", "Whether Redis answers; where it is 0, only the API process's own metrics are there.", value
    )


def _one(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"lig_{name}", text, value=value)


def _gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    gauge = GaugeMetricFamily(f"lig_{name}", text, labels=[label])
    for value, number in values.items():
        gauge.add_metric([value], number)
    return gauge


def _by_model(name: str, text: str, values: Mapping[tuple[str, str], float]) -> Metric:
    gauge = GaugeMetricFamily(f"lig_{name}", text, labels=["model", "dtype"])
    for key, number in values.items():
        gauge.add_metric(key, number)
    return gauge


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    bounds = [*(f"{bound:g}" for bound in histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(f"lig_{name}", text, buckets=buckets, sum_value=histogram.sum)
