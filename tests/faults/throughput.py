"""How much faster two workers are than one: `python -m tests.faults.throughput`.

Adds its figures to benchmarks/faults.json and benchmarks/faults.md.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.faults.stack import Stack

JOBS = 30
KINDS = {"keep one core busy": "spin 4000000", "wait 0.3 s, as for a GPU": "0.3"}
REPEATS = 3
OUT = Path("benchmarks")
HEADING = "## Two workers against one"


def jobs_per_second(workers: int, kind: str) -> float:
    """From sending to the last end, over HTTP."""
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), workers=workers, lease=30) as stack:
        stack.wait_until_ready()
        with httpx.Client(base_url=stack.url, timeout=120) as http:
            began = time.monotonic()
            bodies = [{"text": f"job{number} {kind}", "model": "minilm"} for number in range(JOBS)]
            for job_id in [http.post("/explain", json=body).json()["id"] for body in bodies]:
                while http.get(f"/jobs/{job_id}", params={"wait": 60, "embed": "false"}).json()["finished_at"] is None:
                    pass
            return JOBS / (time.monotonic() - began)


def measure() -> dict[str, Any]:
    """One worker and two by turns, so that other work on the machine hits both alike."""
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(REPEATS):
            for workers, measured in rates.items():
                measured.append(jobs_per_second(workers, kind))
        found[name] = {
            "one": [round(rate, 2) for rate in rates[1]],
            "two": [round(rate, 2) for rate in rates[2]],
            "ratio_of_medians": round(statistics.median(rates[2]) / statistics.median(rates[1]), 2),
            "ratio_of_best": round(max(rates[2]) / max(rates[1]), 2),
            "load_average": round(os.getloadavg()[0], 2),
        }
    return found


def main() -> None:
    figures = measure()
    stored = OUT / "faults.json"
    stored.write_text(json.dumps({**json.loads(stored.read_text()), "throughput": figures}, indent=1) + "\n")
    rows = "\n".join(
        f"| {name} | {', '.join(map(str, f['one']))} | {', '.join(map(str, f['two']))} | {f['ratio_of_medians']} | "
        f"{f['ratio_of_best']} | {f['load_average']} |"
        for name, f in figures.items()
    )
    text = (OUT / "faults.md").read_text().partition(HEADING)[0].rstrip()
    (OUT / "faults.md").write_text(f"""{text}

{HEADING}

{JOBS} queued jobs, {os.cpu_count()} cores that API and Redis share, one worker and two by turns. A load average above \
the number of cores means that other programs were taking the cores meanwhile.

| jobs that | one worker, jobs/s | two workers, jobs/s | ratio of medians | ratio of the best | load average |
|---|---|---|---|---|---|
{rows}
""")
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
