"""How much faster two workers are than one."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.faults.report import rows
from tests.faults.scripted_child import spin
from tests.faults.stack import Stack

JOBS = 30
SPIN = 4_000_000
KINDS = {"keep one core busy": f"spin {SPIN}", "wait 0.3 s, as for a GPU": "0.30"}
BARE = "keep one core busy, in bare processes: the machine's own ratio"
REPEATS = 5


def jobs_per_second(workers: int, kind: str) -> float:
    """From sending to the last end, over HTTP."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), workers=workers, fsync="everysec") as stack:
        stack.wait_until_ready()
        with httpx.Client(base_url=stack.url, timeout=120) as http:
            began = time.monotonic()
            bodies = [{"text": f"job{number} {kind}", "model": "minilm"} for number in range(JOBS)]
            for job_id in [http.post("/explain", json=body).json()["id"] for body in bodies]:
                while http.get(f"/jobs/{job_id}", params={"wait": 60, "embed": "false"}).json()["finished_at"] is None:
                    pass
            return JOBS / (time.monotonic() - began)


def spins_per_second(processes: int) -> float:
    """The same work without any service."""
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(spin, [1] * processes))  # they are up
        began = time.monotonic()
        list(pool.map(spin, [SPIN] * JOBS))
        return JOBS / (time.monotonic() - began)


def measure() -> dict[str, Any]:
    """One worker and two by turns, so that other work on the machine hits both alike."""
    ways: dict[str, Callable[[int], float]] = {
        name: partial(jobs_per_second, kind=kind) for name, kind in KINDS.items()
    }
    rates: dict[str, dict[int, list[float]]] = {name: {1: [], 2: []} for name in (*ways, BARE)}
    for _ in range(REPEATS):
        for name, way in {**ways, BARE: spins_per_second}.items():
            for workers, measured in rates[name].items():
                measured.append(way(workers))
    return {name: ratios(measured[1], measured[2]) for name, measured in rates.items()}


def ratios(one: list[float], two: list[float]) -> dict[str, Any]:
    """Of neighbouring runs, which the machine's swings hit alike, and of all."""
    return {
        "one": [round(rate, 2) for rate in one],
        "two": [round(rate, 2) for rate in two],
        "median_of_ratios": round(statistics.median(b / a for a, b in zip(one, two, strict=True)), 2),
        "ratio_of_medians": round(statistics.median(two) / statistics.median(one), 2),
    }


def faults_of(figures: dict[str, Any]) -> list[str]:
    """Nothing is promised here."""
    return []


def markdown(figures: dict[str, Any]) -> str:
    """The report to read."""
    heads = [
        "jobs that",
        "one worker, jobs/s",
        "two workers, jobs/s",
        "median of neighbours' ratios",
        "ratio of medians",
    ]
    lines = [
        [name, *(", ".join(map(str, f[how])) for how in ("one", "two")), f["median_of_ratios"], f["ratio_of_medians"]]
        for name, f in figures.items()
    ]
    return f"""{JOBS} queued jobs, {os.cpu_count()} cores that API and Redis share, one worker and two by turns. The \
last row is what this machine gave two processes at the time.

{rows(heads, lines)}
"""
