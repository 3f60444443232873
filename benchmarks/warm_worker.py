"""What a warm worker costs and keeps to: `python -m benchmarks.warm_worker`, or `make bench-worker`.

A real worker over a real Redis and the API, with minilm and models of random weights. Writes
benchmarks/warm_worker.json and benchmarks/warm_worker.md.
"""

from __future__ import annotations

import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from lig_core.client import Client
from lig_core.models.catalog import find_model
from tests.faults.stack import Stack

OUT = Path(__file__).parent
OBSERVED = OUT.parent / "tests" / "faults" / "observed_worker.py"
PICKUPS = 60
MODELS, JOBS, ROOM_FOR = 6, 200, 2.5
LONGEST = 512
CANCELLED_AFTER = (0.5, 2.0, 5.0)
ALL = ["att", "mlp", "layer", "composed"]


class Observed:
    """A service with one observed worker: `client` to it, and the notes that the worker made."""

    def __init__(self, url: str, notes: Path) -> None:
        self.client = Client(url)
        self._notes = notes

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._notes.read_text().splitlines()]

    def wait_for(self, what: str, after: float) -> float:
        """When the worker next did that."""
        while True:
            for note in self.notes():
                if note["what"] == what and note["at"] > after:
                    return float(note["at"])
            time.sleep(0.005)


@contextmanager
def observed(models: Path, **variables: str) -> Iterator[Observed]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        notes = folder / "notes"
        told = {"LIG_MODELS_FOLDER": str(models), "LIG_MAX_BACKLOG": "1e9", **variables}
        with Stack(folder, workers=1, fsync="everysec", worker=(str(OBSERVED), str(notes)), **told) as stack:
            notes.touch()
            stack.wait_until_ready()
            yield Observed(stack.url, notes)


def make_model(folder: Path, config: BertConfig, seed: int) -> None:
    """Random weights, with minilm's tokenizer."""
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(find_model("minilm").source).save_pretrained(folder)


def pickup(models: Path) -> dict[str, Any]:
    """From picking a job up to computing, the model being in memory."""
    with observed(models, LIG_PRELOAD='["minilm"]') as service:
        for number in range(PICKUPS + 1):  # the first one warms up
            service.client.explain(f"the cat sat on mat {number}", model="minilm", granularity=["layer"], layers=[0])
        notes = service.notes()
    picked = [note["at"] for note in notes if note["what"] == "picked up"]
    begun = [note["at"] for note in notes if note["what"] == "computing"]
    waits = sorted((later - earlier) * 1e3 for earlier, later in zip(picked, begun, strict=False))[:-1]
    return {"jobs": PICKUPS, "ms": {"median": round(statistics.median(waits), 1), "most": round(max(waits), 1)}}


def cancelling(models: Path) -> list[dict[str, Any]]:
    """From asking to cancel a job of 512 tokens to the end of its computing."""
    make_model(models / "base", BertConfig(), 0)
    text, found = " ".join(["cat"] * (LONGEST - 2)), []
    with observed(models, LIG_MAX_RESULT_BYTES=str(2**40)) as service:
        client = service.client
        for model in ("minilm", "base"):
            for dtype in ("float32", "float64"):
                client.explain("warm", model=model, dtype=dtype)  # in memory from here on
                for baseline in ("zero", "itb_zero_ratio"):
                    waits = []
                    for after in CANCELLED_AFTER:
                        sent = time.monotonic()
                        job = client.submit(
                            text, model=model, dtype=dtype, granularity=ALL, fresh=True,
                            baseline_att=baseline, baseline_layer=baseline,
                        )["id"]  # fmt: skip
                        time.sleep(max(0.0, service.wait_for("computing", sent) + after - time.monotonic()))
                        asked = time.monotonic()
                        client.cancel(job)
                        waits.append(round(service.wait_for("stopped", sent) - asked, 2))
                        assert client.wait(job)["status"] == "cancelled"
                    found.append({"model": model, "dtype": dtype, "baseline": baseline, "seconds": waits})
                    print(found[-1], flush=True)
    return found


def budget(models: Path) -> dict[str, Any]:
    """Jobs of six models, in any order, where two and a half of them find room."""
    names = [f"model{number}" for number in range(MODELS)]
    for number, name in enumerate(names):
        config = BertConfig(hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=512)
        make_model(models / name, config, number)
    size = sum(parameter.numel() * 4 for parameter in AutoModel.from_pretrained(models / names[0]).parameters())
    room = int(ROOM_FOR * size)
    dice = random.Random(0)
    with observed(models, LIG_MODEL_BUDGET=str(room)) as service:
        client = service.client
        jobs = [client.submit(f"cat {n}", model=dice.choice(names), layers=[0])["id"] for n in range(JOBS)]
        ended = [client.wait(job)["status"] for job in jobs]
        notes = service.notes()
    return {
        "jobs": JOBS,
        "models": MODELS,
        "succeeded": ended.count("succeeded"),
        "budget_bytes": room,
        "most_bytes": max(note.get("bytes", 0) for note in notes),
        "loads": sum(note["what"] == "loaded" for note in notes),
    }


def page(found: dict[str, Any]) -> str:
    """The figures in words."""
    pool, ms = found["budget"], found["pickup"]["ms"]
    after = ", ".join(f"{seconds:g}" for seconds in CANCELLED_AFTER)
    rows = "\n".join(
        f"| {row['model']} | {row['dtype']} | {row['baseline']} | {', '.join(map(str, row['seconds']))} |"
        for row in found["cancelling"]
    )
    return f"""# A warm worker

`make bench-worker`: one worker, one API, an embedded Redis, {found["machine"]["processors"]} processors that all share.

From picking a job up to computing, its model in memory, {found["pickup"]["jobs"]} jobs: median {ms["median"]} ms, \
most {ms["most"]} ms (wanted: 20 ms).

{pool["jobs"]} jobs of {pool["models"]} models in any order, with room for {ROOM_FOR:g} of them \
({pool["budget_bytes"]:,} bytes): {pool["succeeded"]} succeeded, {pool["loads"]} loads, at most \
{pool["most_bytes"]:,} bytes of models in memory at once.

Seconds from `POST …/cancel` to the end of the computing, for a text of {LONGEST} tokens with all maps of all layers, \
cancelled {after} s after it began (wanted: 2 s). `base` has BERT-base's shape and random weights.

| model | precision | baseline | seconds |
|---|---|---|---|
{rows}
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        models = Path(name)
        found = {
            "machine": {"processors": os.cpu_count(), "kind": platform.machine(), "torch": torch.__version__},
            "pickup": pickup(models),
            "budget": budget(models),
            "cancelling": cancelling(models),
        }
    (OUT / "warm_worker.json").write_text(json.dumps(found, indent=1) + "\n")
    (OUT / "warm_worker.md").write_text(page(found))
    print(page(found))


if __name__ == "__main__":
    main()
