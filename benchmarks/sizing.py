"""What jobs take, by model, tokens and maps: `python -m benchmarks.sizing`, or `make bench-sizing`.

A real API, worker and Redis. Writes docs/operate/sizing.md. Seconds are the processor's, of the process with the
models: they hardly change with what else the machine does.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch
from redis import Redis
from transformers import BertConfig, BertModel

from benchmarks.cases import TEXT
from lig_core.models.catalog import find_model
from tests.faults.stack import REAL_WORKER, Stack

PAGE = Path(__file__).parents[1] / "docs" / "operate" / "sizing.md"
MODELS = {
    "minilm": "6 layers, width 384",
    "base": "12 layers, width 768 (BERT-base's shape)",
    "smollm2": "30 layers, width 576",
}
TOKENS = (16, 64, 256)
MAPS = ("layer", "all")
SMALL_JOBS = 200
LOOK_SECONDS = 0.02
WAIT_SECONDS = 50
MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One job; sizes are bytes."""

    model: str
    maps: str
    tokens: int
    seconds: float
    peak: int
    json: int
    arrays: int
    stored: int


@dataclass(frozen=True)
class Memory:
    """Resident bytes of a service's processes: at the start, and after the jobs of one model."""

    model: str
    empty: int
    loaded: int
    worker: int
    api: int
    api_after: int


class Site:
    """A service with one worker, and what its processes hold."""

    def __init__(self, stack: Stack) -> None:
        self.http = httpx.Client(base_url=stack.url, timeout=120)
        self.redis = Redis.from_url(stack.redis.url)
        child = stack.workers[0].child()
        assert child is not None
        self.models, self.worker, self.api = (
            child,
            psutil.Process(stack.workers[0].pid),
            psutil.Process(stack.apis[0].pid),
        )

    def run(self, **request: Any) -> dict[str, Any]:
        """A job that has succeeded."""
        answer = self.http.post("/v1/explain", json=request)
        answer.raise_for_status()
        job: dict[str, Any] = answer.json()
        while job["status"] in {"queued", "running"}:
            job = self.http.get(f"/v1/jobs/{job['id']}", params={"wait": WAIT_SECONDS, "embed": False}).json()
        assert job["status"] == "succeeded", job
        return job

    def text(self, model: str, tokens: int) -> str:
        """The shortest beginning of the benchmarks' text that has so many tokens."""
        words = (TEXT * 20).split()
        for count in range(1, len(words)):
            text = " ".join(words[:count])
            if self.tokens(model, text) >= tokens:
                return text
        raise AssertionError(f"the text has fewer than {tokens} tokens")

    def tokens(self, model: str, text: str) -> int:
        estimate = self.http.post("/v1/explain/estimate", json={"model": model, "text": text})
        return int(estimate.raise_for_status().json()["tokens"])

    def result_bytes(self, job: str, media_type: str) -> int:
        headers = {"Accept": media_type, "Accept-Encoding": "identity"}
        return len(self.http.get(f"/v1/jobs/{job}/result", headers=headers).raise_for_status().content)

    def stored(self) -> int:
        """Bytes that the results in Redis take."""
        return sum(self.redis.memory_usage(key) or 0 for key in self.redis.scan_iter("lig:*:result:*"))


@contextmanager
def site(models: Path) -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as name:
        variables = {"LIG_MODELS_FOLDER": str(models), "LIG_THREADS": "2"}
        with Stack(Path(name), workers=1, worker=REAL_WORKER, **variables) as stack:
            stack.wait_until_ready()
            yield Site(stack)


@contextmanager
def peak_of(process: psutil.Process) -> Iterator[list[int]]:
    """The most that a process holds in a block, in a list of one."""
    most, over = [process.memory_info().rss], threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            most[0] = max(most[0], process.memory_info().rss)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def measure(model: str, models: Path) -> tuple[Memory, list[Row]]:
    """One model in a service of its own."""
    with site(models) as at:
        empty, api = at.models.memory_info().rss, at.api.memory_info().rss
        at.run(model=model, text="Loaded.", granularity="layer", layers=[0])
        loaded = at.models.memory_info().rss
        rows = []
        for tokens in TOKENS:
            text = at.text(model, tokens)
            for maps in MAPS:
                rows.append(measure_job(at, model, text, maps))
                print(rows[-1], flush=True)
        memory = (at.worker.memory_info().rss, api, at.api.memory_info().rss)
        return Memory(model, empty, loaded, *memory), rows


def measure_job(at: Site, model: str, text: str, maps: str) -> Row:
    stored, before, held = at.stored(), sum(at.models.cpu_times()[:2]), at.models.memory_info().rss
    with peak_of(at.models) as most:
        job = at.run(model=model, text=text, granularity=maps)
    return Row(
        model,
        maps,
        at.tokens(model, text),
        sum(at.models.cpu_times()[:2]) - before,
        most[0] - held,
        at.result_bytes(job["id"], "application/json"),
        at.result_bytes(job["id"], "application/x-npz"),
        at.stored() - stored,
    )


def measure_small_jobs(models: Path) -> float:
    """Bytes of Redis that one job of the smallest kind takes while its result is kept."""
    with site(models) as at:
        at.run(model="minilm", text="Loaded.", granularity="layer", layers=[0])
        before = at.redis.info("memory")["used_memory"]
        texts = [f"Text {number}." for number in range(SMALL_JOBS)]
        options = {"model": "minilm", "granularity": "layer", "layers": [0]}
        answer = at.http.post("/v1/explain/batch", json={"texts": texts, "options": options}).raise_for_status()
        for job in answer.json()["jobs"]:
            while at.http.get(f"/v1/jobs/{job['id']}?wait=50&embed=false").json()["status"] != "succeeded":
                time.sleep(0.1)
        return float(at.redis.info("memory")["used_memory"] - before) / SMALL_JOBS


def save_base(folder: Path) -> None:
    """BERT-base's shape with seeded random weights: what it takes is of interest, not what it says."""
    torch.manual_seed(0)
    BertModel(BertConfig()).save_pretrained(folder)
    bundled = Path(find_model("minilm").source)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(bundled / name, folder / name)


def page(memories: list[Memory], rows: list[Row], small_job: float) -> str:
    """The page as it stands in the repository."""
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    jobs = "\n".join(
        f"| {row.model} | {row.maps} | {row.tokens} | {row.seconds:.1f} | {row.peak / MIB:.0f} | {row.json / 1e6:.2f} "
        f"| {row.arrays / 1e6:.2f} | {row.stored / 1e6:.2f} |"
        for row in rows
    )
    held = "\n".join(
        f"| {at.model} | {at.loaded / MIB:.0f} | {at.worker / MIB:.0f} | {at.api_after / MIB:.0f} |" for at in memories
    )
    system = f"{os.cpu_count()} processors ({platform.machine()}; load averages {load})"
    small, batch = f"{small_job / 1024:.1f} KiB", f"{256 * small_job / MIB:.1f} MiB"
    empty, api = (max(getattr(at, name) for at in memories) / MIB for name in ("empty", "api"))
    shapes = "\n".join(f"- `{name}`: {shape}" for name, shape in MODELS.items())
    return f"""# How much a service takes

For those who order machines. `make bench-sizing` measured this, and wrote it: one API, one worker with two threads, and
Redis, on {system}; PyTorch {torch.__version__} in float32, all defaults.
The models, of which `base` has random weights, which take fewer nodes than trained ones:

{shapes}

Before you send something, `POST /v1/explain/estimate` says of it what these tables say of these models: tokens, seconds
at the rate of your workers, memory, bytes.

## One job

Processor seconds: with two threads that both run, half of that passes. Memory is what the process with the models took
beyond what it held before; the jobs of a model ran one after another, in the order of the table. `all` is all maps,
`att` of every head among them. Sizes are in MB, of the result as JSON, as arrays (npz), and as Redis keeps it.

| model | maps | tokens | processor s | memory, MiB | JSON | arrays | in Redis |
|---|---|---|---|---|---|---|---|
{jobs}

Seconds grow with layers and targets; of each target, with width² where the text is short, and with tokens times width
where it is long. Bytes grow with layers and tokens², those of `att` with heads as well. So fewer `layers` and
`target_tokens` take less in proportion; a looser `rtol` hardly does ([nodes](../../benchmarks/quadrature.md)). Longer
texts, and the authors' library beside: [what was measured](../../benchmarks/core.md).

## The processes

| model | process with it, MiB | its worker, MiB | API, MiB |
|---|---|---|---|
{held}

A process with models holds {empty:.0f} MiB before it loads one, mostly torch. An API starts with {api:.0f} MiB, and the
table has it after it sent these results; beside that it may keep `LIG_EVENT_CACHE_BYTES` (64 MiB) of layers for streams
of events. A worker needs what its models take (`LIG_MODEL_BUDGET` at most), the memory of the largest job that you
accept, and half a GiB.

Redis holds the last column of the first table for `LIG_RESULT_TTL`, and each job beside: one of one layer and 5 tokens
took {small} in all, so a batch of 256 such texts {batch}. It is many tokens with all maps that fill a Redis:
shorten `LIG_RESULT_TTL`, or ask for fewer maps. While an append-only file is rewritten, the old one and the new one
are on the disk.

## How many workers

A worker runs one job at a time, on all its threads, and has its own models in memory. Two workers on two processors
[got through](../../benchmarks/faults.md#two-workers-against-one) 1.4 to 1.6 times the short jobs of one, and twice
where the time is a GPU's; one worker with all threads answers a single long text soonest. What waits is
`lig_backlog_seconds` ([metrics](../metrics.md)). One API process accepts some 350 posts a second
([what was measured](../../benchmarks/service.md)); a second one is there so that one can stop.
"""


def main() -> None:
    memories, rows = [], []
    with tempfile.TemporaryDirectory() as name:
        models = Path(name)
        save_base(models / "base")
        for model in MODELS:
            memory, measured = measure(model, models)
            memories.append(memory)
            rows += measured
        PAGE.write_text(page(memories, rows, measure_small_jobs(models)), encoding="utf-8")


if __name__ == "__main__":
    main()
