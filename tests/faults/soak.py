"""An hour of everything clients do; memory, file descriptors and Redis's keys must not grow.

    python -m tests.faults.soak MINUTES

A real worker explains with minilm, in both precisions; results are read in every format, events followed, jobs
cancelled, deleted, sent twice and sent to fail. Results expire soon here, so that keys level out within the run.
Writes benchmarks/soak.json and benchmarks/soak.md.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from lig_core.catalog import find_model
from lig_core.client import Client
from lig_core.errors import ServiceError
from lig_core.queue import names
from tests.faults.stack import REAL_WORKER, Stack

EXPIRING = ("LIG_RESULT_TTL", "LIG_FAILURE_TTL", "LIG_EXPIRED_TTL", "LIG_IDEMPOTENCY_TTL")
KEPT_SECONDS = "10"
WARM_UP_SECONDS = 120.0
"""Left out: caches fill, both precisions are loaded, and a result's key outlives its job by a minute."""
PACE_SECONDS, SAMPLE_SECONDS = 0.3, 5.0
GROWTH = {"rss": 1.05, "fds": 1.10}
"""How much the last quarter may exceed the first after the warm-up; medians of each."""
EXPIRY_SECONDS = 100.0
"""How long after the last job every key of a job is gone: it and what is known of it have expired, a minute on top."""
OF_JOBS = ("computation", "job", "claims", "group", "live", "digest", "idempotency", "dead", "events", "blob")
"""Kinds of keys of which none is left then."""
WORDS = (3, 8, 20, 45)
FORMATS = ("json", "ndjson", "npz", "safetensors")
MODEL, DAMAGED = "minilm", "damaged"
OUT = Path("benchmarks")


class Load:
    """One client that does in turn whatever clients do."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.done: Counter[str] = Counter()
        self._number = 0

    def step(self) -> None:
        """The next thing; raises AssertionError where the service does not do its part."""
        doings: tuple[Callable[[], None], ...] = (
            self._result, self._events, self._cancelled, self._batch, self._twice, self._deleted, self._failing,
        )  # fmt: skip
        doing = doings[self._number % len(doings)]
        doing()
        self._number += 1
        self.done[doing.__name__.removeprefix("_")] += 1

    def _submit(self, **fields: Any) -> str:
        words = " ".join(["word"] * WORDS[self._number % len(WORDS)])
        dtype = "float64" if self._number % 5 == 0 else "float32"
        return self.client.submit(f"{words} {self._number}", **{"model": MODEL, "dtype": dtype, **fields})["id"]

    def _result(self) -> None:
        job = self._submit()
        assert self.client.wait(job)["status"] == "succeeded"
        form = FORMATS[self._number % len(FORMATS)]
        assert self.client.result(job, format=form)

    def _events(self) -> None:
        kinds = [event.name for event in self.client.events(self._submit(granularity=["layer"]))]
        assert kinds.count("layer") == find_model(MODEL).config["num_hidden_layers"], kinds

    def _cancelled(self) -> None:
        job = self._submit()
        try:
            self.client.cancel(job)
        except ServiceError:  # it had ended already
            return
        assert self.client.wait(job)["status"] in ("cancelled", "succeeded")

    def _batch(self) -> None:
        texts = [f"text {self._number} {place}" for place in range(3)]
        for job in self.client.batch(texts, model=MODEL, layers=[0])["jobs"]:
            assert self.client.wait(job["id"])["status"] == "succeeded"

    def _twice(self) -> None:
        first, second = self._submit(layers=[1]), self._submit(layers=[1])
        assert self.client.wait(first)["status"] == self.client.wait(second)["status"] == "succeeded"
        assert self.client.diff(first, second)

    def _deleted(self) -> None:
        self.client.delete(self._submit())

    def _failing(self) -> None:
        assert self.client.wait(self._submit(model=DAMAGED))["status"] == "failed"


def sample(stack: Stack) -> dict[str, float]:
    found: dict[str, float] = {}
    processes = {"worker": psutil.Process(stack.workers[0].pid), "api": psutil.Process(stack.api_pid)}
    models = stack.child_of(stack.workers[0])
    if models is not None:
        processes["models"] = models
    for name, process in processes.items():
        found[f"rss {name}"] = process.memory_info().rss
        found[f"fds {name}"] = process.num_fds()
    return found


def keys_of_jobs(redis: Any) -> list[str]:
    prefixes = tuple(names.key(kind, "lig", "") for kind in OF_JOBS)
    return [key for raw in redis.scan_iter() if (key := raw.decode()).startswith(prefixes)]


def make_damaged_model(folder: Path) -> None:
    """minilm's configuration and tokenizer beside weights that are none."""
    source = Path(find_model(MODEL).source)
    shutil.copytree(source, folder / DAMAGED, ignore=shutil.ignore_patterns("*.safetensors", "*.bin", "onnx", "*.onnx"))
    (folder / DAMAGED / "model.safetensors").write_bytes(b"not weights")


def soak(minutes: float) -> dict[str, Any]:
    samples: list[dict[str, float]] = []
    most_keys = 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_damaged_model(folder / "models")
        told = dict.fromkeys(EXPIRING, KEPT_SECONDS) | {
            "LIG_MODELS_FOLDER": str(folder / "models"),
            "LIG_PRELOAD": json.dumps([MODEL]),
            "LIG_EVENT_CACHE_BYTES": str(2**20),  # 64 times less than usual: it is full when the warm-up ends
            "OMP_NUM_THREADS": "1",
        }
        with Stack(folder, workers=1, lease=20, worker=REAL_WORKER, **told) as stack:
            stack.wait_until_ready()
            pids = {stack.api_pid, stack.workers[0].pid, stack.child_of(stack.workers[0])}
            began = sampled = time.monotonic()
            with stack.connect() as redis, Client(stack.url) as client:
                load = Load(client)
                while (now := time.monotonic()) - began < minutes * 60:
                    load.step()
                    if now - began > WARM_UP_SECONDS and now - sampled > SAMPLE_SECONDS:
                        samples.append(sample(stack))
                        most_keys = max(most_keys, redis.dbsize())
                        sampled = now
                    time.sleep(PACE_SECONDS)
                time.sleep(EXPIRY_SECONDS)
                keys = {"most": most_keys, "at_last": redis.dbsize(), "of_jobs": keys_of_jobs(redis)}
            assert pids == {stack.api_pid, stack.workers[0].pid, stack.child_of(stack.workers[0])}, "one was restarted"
            assert all(worker.poll() is None for worker in stack.workers)
    quarter = max(1, len(samples) // 4)
    rows = {}
    for name in samples[0]:
        first, last = (statistics.median(s[name] for s in part) for part in (samples[:quarter], samples[-quarter:]))
        rows[name] = {
            "first": round(first),
            "last": round(last),
            "most": round(max(s[name] for s in samples)),
            "flat": last <= first * GROWTH[name.split()[0]],
        }
    return {"minutes": minutes, "steps": dict(load.done), "samples": len(samples), "figures": rows, "keys": keys}


def page(result: dict[str, Any]) -> str:
    """The figures in words."""
    keys = result["keys"]
    steps = ", ".join(f"{count} × {name}" for name, count in result["steps"].items())
    rows = "\n".join(
        f"| {name} | {row['first']:,} | {row['last']:,} | {row['most']:,} | {'yes' if row['flat'] else '**no**'} |"
        for name, row in result["figures"].items()
    )
    return f"""# {result["minutes"]:g} minutes on end

`make soak MINUTES={result["minutes"]:g}`: one API process, one worker with minilm in both precisions, an embedded
Redis. What a client did, one thing after another: {steps}.
Results and failures were kept for {KEPT_SECONDS} s; the cache of events held 1 MiB, so that it was full early.

Medians of the first and the last quarter of {result["samples"]} samples, after {WARM_UP_SECONDS:g} s of warming up.
Flat: no more than {GROWTH["rss"] - 1:.0%} more memory, {GROWTH["fds"] - 1:.0%} more descriptors.

| what | first quarter | last quarter | most | flat |
|---|---|---|---|---|
{rows}

Redis held {keys["most"]} keys at most, and {keys["at_last"]} when the last results had expired ({EXPIRY_SECONDS:g} s
after the last job), {len(keys["of_jobs"])} of them of a job.
"""


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    if minutes * 60 < 1.25 * WARM_UP_SECONDS:
        sys.exit(f"a run takes at least {1.25 * WARM_UP_SECONDS / 60:g} minutes")
    result = soak(minutes)
    (OUT / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
    (OUT / "soak.md").write_text(page(result))
    print(json.dumps(result, indent=1))
    grown = [name for name, row in result["figures"].items() if not row["flat"]]
    if grown or result["keys"]["of_jobs"]:
        sys.exit(f"these grew: {', '.join(grown)}; keys left: {result['keys']['of_jobs']}")


if __name__ == "__main__":
    main()
