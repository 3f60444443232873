"""Prometheus metrics of this process itself: its memory, processor time and open files, and what it was built of."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override


class BuildInfo(Collector):
    """Versions as labels of one series whose value is 1; `torch` is empty where it is not installed."""

    def __init__(self) -> None:
        labels = {
            "version": _installed("lig-service"),
            "python": platform.python_version(),
            "torch": _installed("torch"),
        }
        self._metric = GaugeMetricFamily(
            "lig_build_info", "1; the versions that this process runs are its labels.", labels=list(labels)
        )
        self._metric.add_metric(list(labels.values()), 1)

    @override
    def collect(self) -> Iterator[Metric]:
        yield self._metric


def collectors() -> list[Collector]:
    """Those of this process, which need nothing but it; the operating system's are read from /proc, on Linux alone."""
    return [BuildInfo(), ProcessCollector(registry=None)]


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
