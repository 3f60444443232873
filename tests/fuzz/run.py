"""Send the running service everything its description allows, and much that it does not.

    python -m tests.fuzz.run --cases N

Schemathesis, all its checks and phases, stateful ones included, against `lig serve`: a real Redis, the API, and a
worker with a tiny random BERT under the name of the default model.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import torch
from transformers import AutoModel, BertConfig

from lig_core.client import Client
from lig_core.client.connection import API_KEY_VARIABLE
from lig_core.errors import ServiceError
from tests.models.tiny_models import USUAL, tiny_tokenizer
from tests.support.places import ROOT

CONFIG = Path(__file__).with_name("schemathesis.toml")
READY = "ready at "
MODEL, DAMAGED = "bert-base-uncased", "damaged"
STOP_SECONDS = 30
SERVICE = {
    "LIG_MAX_WAIT": "1",  # a fuzzed `wait` is often huge
    "LIG_JOB_TIMEOUT": "5",
    "LIG_MAX_BACKLOG": "1e9",  # that a full queue is refused with 503 has tests of its own
    "OMP_NUM_THREADS": "1",  # the matrices are tiny: threads would only wait for each other
}


def make_models(folder: Path) -> None:
    """A BERT of 3 layers and 64 positions that explains a sentence in a moment, and one whose weights are damaged."""
    torch.manual_seed(0)
    for name in (MODEL, DAMAGED):
        AutoModel.from_config(BertConfig(**USUAL)).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    (folder / DAMAGED / "model.safetensors").write_bytes(b"not weights")


@contextlib.contextmanager
def service(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`lig serve` with its data and its models in `folder`; yields its address and its process."""
    make_models(folder / "models")
    told = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "LIG_MODELS_FOLDER": str(folder / "models"), **SERVICE}
    command = [sys.executable, "-m", "lig_core.cli", "serve", "--port", "0", "--data-dir", str(folder / "data")]
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **told})
    try:
        assert process.stdout is not None
        address = next((line for line in process.stdout if READY in line), None)
        assert address, (folder / "serve.log").read_text()
        yield address.split(READY)[1].split()[0], process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


class Tally:
    """What was sent and what came of it, over all rounds."""

    def __init__(self) -> None:
        self.cases = 0
        self.statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.jobs: Counter[str] = Counter()
        self.checks: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.seeds: list[int] = []

    def add(self, folder: Path) -> None:
        """Count one round from its reports."""
        told = json.loads(next(folder.glob("json-*.json")).read_text())
        self.cases += told["test_cases"]["generated"]
        for failure in told["failures"]:
            self.failures[f"{failure['title']} ({failure['code']}): {', '.join(failure['operations'])}"] += 1
        for error in told["errors"]:
            self.failures[error["title"]] += error["count"]
        with next(folder.glob("ndjson-*.ndjson")).open() as events:
            for line in events:
                event = json.loads(line)
                if "ScenarioFinished" in event:
                    self._add_scenario(event["ScenarioFinished"]["recorder"])

    def _add_scenario(self, recorder: dict[str, Any]) -> None:
        for case, sent in recorder.get("interactions", {}).items():
            what = recorder["cases"][case]["value"]
            answer = sent["response"]
            self.checks.update(check["name"] for check in recorder["checks"].get(case, ()))
            status = answer["status_code"] if answer else 0
            self.statuses[f"{what['method']} {what['path']}"][status] += 1

    @property
    def server_errors(self) -> int:
        """Answers of 500 and more, and requests without one."""
        return sum(
            number
            for statuses in self.statuses.values()
            for status, number in statuses.items()
            if status == 0 or status >= 500
        )


def ended_jobs(url: str) -> list[str]:
    """Ids of jobs that succeeded, failed and were cancelled, for the requests that take one."""
    told: dict[str, Any] = {"num_steps": 2, "layers": [0]}
    with Client(url) as client:
        two = [client.submit(text, **told)["id"] for text in ("a cat sat", "a cat sat on the mat")]
        jobs = [*two, client.submit("a cat sat", model=DAMAGED, **told)["id"]]
        for job in jobs:
            client.wait(job)
        cancelled = client.submit("a cat", **told)["id"]
        with contextlib.suppress(ServiceError):  # it may have ended already
            client.cancel(cancelled)
    return [*jobs, cancelled]


def fuzz(url: str, size: int, seed: int, folder: Path) -> str:
    """One round of about `size` cases for each operation; its reports go to `folder`. Returns what was printed."""
    key = os.environ.get(API_KEY_VARIABLE)
    folder.mkdir()
    (folder / "jobs.txt").write_text("".join(f'"{job}"\n' for job in ended_jobs(url)))
    config = shutil.copy(CONFIG, folder)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", config, "--no-color"),
        *("run", f"{url}/openapi.json", "--max-examples", str(size), "--seed", str(seed)),
        *("--report", "json,ndjson", "--report-dir", str(folder), "--generation-database", "none"),
        *(["--header", f"Authorization: Bearer {key}"] if key else []),
    ]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if not list(folder.glob("json-*.json")):
        raise SystemExit(f"schemathesis did not run:\n{done.stdout}")
    return done.stdout


def measure(cases: int, size: int, seed: int) -> dict[str, Any]:
    """Rounds, each with the next seed, until at least `cases` were sent."""
    tally, printed, began = Tally(), [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lig-fuzz-") as name:
        folder = Path(name)
        with service(folder) as (url, process):
            while tally.cases < cases:
                tally.seeds.append(seed + len(tally.seeds))
                round_ = folder / f"round-{len(tally.seeds)}"
                printed.append(fuzz(url, size, tally.seeds[-1], round_))
                tally.add(round_)
                if tally.failures:
                    break
            ready = process.poll() is None and httpx.get(f"{url}/readyz").status_code == 200
        log = (folder / "serve.log").read_text()
    if not ready:
        tally.failures["the service is not ready afterwards"] += 1
    if "Traceback" in log:
        tally.failures["the service's log has a traceback"] += 1
    return {
        "cases": tally.cases,
        "seconds": round(time.monotonic() - began),
        "seeds": tally.seeds,
        "server_errors": tally.server_errors,
        "failures": dict(tally.failures),
        "checks": sorted(tally.checks),
        "statuses": {name: dict(sorted(found.items())) for name, found in sorted(tally.statuses.items())},
        "versions": {
            **{name: version(name) for name in ("schemathesis", "hypothesis", "fastapi")},
            "python": platform.python_version(),
        },
        "printed": printed[-1] if tally.failures else "",
        "log": log if tally.failures else "",
    }


def report(result: dict[str, Any]) -> str:
    """The result as a page."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    seen = sorted({int(status) for found in result["statuses"].values() for status in found})
    # Methods that a path does not take are tried on each; they are one row.
    operations = {name: found for name, found in result["statuses"].items() if set(map(int, found)) != {405}}
    refused = sum(sum(found.values()) for name, found in result["statuses"].items() if name not in operations)
    operations["methods that a path does not take"] = {405: refused}
    rows = [
        f"| {name} | {sum(found.values())} | "
        + " | ".join(str(found.get(status, found.get(str(status), ""))) for status in seen)
        + " |"
        for name, found in operations.items()
    ]
    failures = [f"- {what} ({number})" for what, number in result["failures"].items()] or ["None."]
    return "\n".join(
        [
            "# The service under Schemathesis",
            "",
            f"`make fuzz`: {result['cases']} cases in {result['seconds']} s against `lig serve` (a real Redis, the "
            f"API, a worker with a tiny BERT); {versions}; seeds {result['seeds'][0]} to {result['seeds'][-1]}.",
            "",
            f"Answers of 500 and more: {result['server_errors']}. Failed checks, undocumented statuses among them:",
            "",
            *failures,
            "",
            f"Checks: {', '.join(result['checks'])}.",
            "",
            f"| operation | requests | {' | '.join(map(str, seen))} |",
            f"|---|---|{'---|' * len(seen)}",
            *rows,
            "",
        ]
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cases", type=int, default=10_000, help="stop after the round that reaches it")
    arguments.add_argument("--size", type=int, default=200, help="cases of each operation and scenarios in a round")
    arguments.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the first round")
    arguments.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder for fuzz.json and fuzz.md")
    given = arguments.parse_args()
    result = measure(given.cases, given.size, given.seed)
    print(result.pop("printed"), result.pop("log"), sep="\n", file=sys.stderr)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "fuzz.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "fuzz.md").write_text(report(result))
    print(f"{result['cases']} cases, {result['server_errors']} server errors, {len(result['failures'])} failures")
    sys.exit(1 if result["failures"] or result["server_errors"] else 0)


if __name__ == "__main__":
    main()
