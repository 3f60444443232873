"""Stops the real `lig serve` at moments of its life drawn from a seed: `python -m tests.faults.stops [--count N]`.

Each run must end in time whatever it was at, with an exit code of its own, no traceback, and nothing left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).parents[2]
REAL = ("-m", "lig_core.cli", "serve")
STATES = ("starting", "idle", "at work", "told twice", "Redis frozen", "API frozen", "worker frozen", "models frozen")
WORDS = {
    "Redis": ("redis-server", "valkey-server"),
    "API": ("service.process.server",),
    "worker": ("worker",),
    "models": ("worker.compute.child",),
}
LONGEST_START_SECONDS = 6.0
READY_SECONDS = 180.0
DEADLINE_SECONDS = 60.0
"""The grace of the API and the worker, that of Redis, and as much again for a slow machine."""
LONG = {"text": "the cat sat on the mat and looked at the rain " * 35, "model": "minilm"}


class Failed(Exception):
    """A run did not end as it should."""


def run(state: str, draw: random.Random) -> str:
    """Start one, bring it into that state, and stop it; what came of it. Raises Failed."""
    with tempfile.TemporaryDirectory() as folder, started(Path(folder)) as (process, said):
        family: dict[int, psutil.Process] = {}
        if state == "starting":
            until = time.monotonic() + draw.uniform(0, LONGEST_START_SECONDS)
            while time.monotonic() < until and process.poll() is None:
                family.update(children(process))
                time.sleep(0.02)
        else:
            url = wait_until_ready(process, said)
            family.update(children(process))
            prepare(state, url, family)
        name = signal.SIGTERM if state == "starting" else draw.choice([signal.SIGTERM, signal.SIGINT])
        family.update(children(process))
        told = time.monotonic()
        process.send_signal(name)
        if state == "told twice":
            time.sleep(draw.uniform(0, 1.5))
            process.send_signal(name)
        try:
            code = process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{state}: still there after {DEADLINE_SECONDS:.0f} s") from None
        seconds = time.monotonic() - told
        _, alive = psutil.wait_procs(list(family.values()), timeout=5)
        output = said.read_text(errors="replace")
        before_it_listens = state == "starting" and code == -name
        if code != 0 and not before_it_listens and state != "told twice":
            raise Failed(f"{state}: exit code {code}\n{output}")
        if alive or list(Path(folder).rglob("redis.sock")) or "Traceback" in output:
            raise Failed(f"{state}: left {alive}\n{output}")
        return f"{state}: ended with {code} after {seconds:.1f} s"


@contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    said = folder / "said"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *REAL, "--port", "0", "--data-dir", str(folder / "data")],
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "LIG_START_TIMEOUT": str(READY_SECONDS)},
        )
    try:
        yield process, said
    finally:
        for child in children(process).values():
            child.kill()
        process.kill()
        process.wait()


def children(process: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
    try:
        return {child.pid: child for child in psutil.Process(process.pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return {}


def wait_until_ready(process: subprocess.Popen[bytes], said: Path) -> str:
    while "LIG service ready at " not in (output := said.read_text(errors="replace")):
        if process.poll() is not None:
            raise Failed(f"it did not start\n{output}")
        time.sleep(0.1)
    return output.partition("LIG service ready at ")[2].split()[0]


def prepare(state: str, url: str, family: dict[int, psutil.Process]) -> None:
    if state in ("at work", "told twice", "models frozen"):
        job = f"{url}/v1/jobs/" + httpx.post(f"{url}/v1/explain", json=LONG, timeout=60).json()["id"]
        while httpx.get(f"{job}?embed=false", timeout=60).json()["status"] == "queued":
            time.sleep(0.1)
    if state.endswith("frozen"):
        words = WORDS[state.partition(" ")[0]]
        (frozen,) = [each for each in family.values() if {*words} & {each.name(), *each.cmdline()}]
        frozen.suspend()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=len(STATES))
    options.add_argument("--seed", type=int, default=11)
    told = options.parse_args()
    draw, failures = random.Random(told.seed), 0
    states = [state for _ in range(0, told.count, len(STATES)) for state in draw.sample(STATES, len(STATES))]
    for state in states[: told.count]:
        try:
            print(run(state, draw), flush=True)
        except Failed as failure:
            failures += 1
            print(f"FAILED {failure}", flush=True)
    print(f"{told.count} stops, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
