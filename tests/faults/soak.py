"""Jobs for minutes on end; memory, file descriptors and Redis's keys must not grow: `python -m tests.faults.soak M`.

Results expire soon here, so that keys level out within the run.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.faults.stack import Stack

KEPT_SECONDS = "10"
WARM_UP_SECONDS = 80.0
"""Left out: caches fill, and a result's key outlives its job by a minute, so that keys level out only then."""
SAMPLE_SECONDS = 2.0
GROWTH = {"rss": 1.10, "fds": 1.0, "keys": 1.25}
"""How much the last quarter may exceed the first after the warm-up."""
OUT = Path("benchmarks")


def sample(stack: Stack, redis: Any) -> dict[str, float]:
    found: dict[str, float] = {"keys": redis.dbsize()}
    processes = {"worker": psutil.Process(stack.workers[0].pid), "api": psutil.Process(stack.api_pid)}
    models = stack.child_of(stack.workers[0])
    if models is not None:
        processes["models"] = models
    for name, process in processes.items():
        found[f"rss {name}"] = process.memory_info().rss
        found[f"fds {name}"] = process.num_fds()
    return found


def soak(minutes: float) -> dict[str, Any]:
    told = dict.fromkeys(("LIG_RESULT_TTL", "LIG_FAILURE_TTL", "LIG_EXPIRED_TTL"), KEPT_SECONDS)
    samples: list[dict[str, float]] = []
    jobs = 0
    with tempfile.TemporaryDirectory() as folder, Stack(Path(folder), workers=1, lease=30, **told) as stack:
        stack.wait_until_ready()
        began = time.monotonic()
        with stack.connect() as redis, httpx.Client(base_url=stack.url, timeout=30) as http:
            while time.monotonic() - began < minutes * 60:
                upto = time.monotonic() + SAMPLE_SECONDS
                while time.monotonic() < upto:
                    job = http.post("/explain", json={"text": f"job{jobs} 0.01", "model": "minilm"}).json()["id"]
                    jobs += 1
                    with contextlib.suppress(httpx.HTTPError):
                        http.get(f"/jobs/{job}", params={"wait": 5})
                if time.monotonic() - began > WARM_UP_SECONDS:
                    samples.append(sample(stack, redis))
    quarter = max(1, len(samples) // 4)
    rows = {}
    for name in samples[0]:
        first, last = (statistics.median(s[name] for s in part) for part in (samples[:quarter], samples[-quarter:]))
        limit = first * GROWTH[name.split()[0]]
        rows[name] = {"first": round(first), "last": round(last), "flat": last <= limit}
    return {"minutes": minutes, "jobs": jobs, "figures": rows}


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    if minutes * 60 < 1.5 * WARM_UP_SECONDS:
        sys.exit(f"a run takes at least {1.5 * WARM_UP_SECONDS / 60:.0f} minutes")
    result = soak(minutes)
    (OUT / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    grown = [name for name, row in result["figures"].items() if not row["flat"]]
    if grown:
        sys.exit(f"these grew: {', '.join(grown)}")


if __name__ == "__main__":
    main()
