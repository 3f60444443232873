"""Jobs a second of a batch of short texts: sharing sequences, and each alone, by turns.

Two services take the same batches. Jobs of the second are given no retry after a crash: those run alone. Run by
`benchmarks.service`; `python -m benchmarks.batches CHECKOUT …` adds other versions of this service.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.http_load import Connection, wait_until_ready
from benchmarks.turns import ROOT, SERVICE, serving
from service.process import child
from service.process.embedded import embedded_redis

TEXTS, WORDS_OF_A_TEXT, ROUNDS = 64, (4, 12), 3
WORDS = "the a old big near by river hangar town cat dog sat ran saw was quiet fast and that on my house"
GRANULARITIES = ("layer", "all")
ALONE = {"LIG_CRASH_RETRIES": "0"}


def texts(seed: str) -> list[str]:
    """Short ones, other for every seed."""
    dice = random.Random(seed)
    return [f"{' '.join(dice.choices(WORDS.split(), k=dice.randint(*WORDS_OF_A_TEXT)))}." for _ in range(TEXTS)]


@contextlib.contextmanager
def working(root: Path, **variables: str) -> Iterator[int]:
    """The port of a service of this checkout with one worker, while the block runs."""
    with tempfile.TemporaryDirectory() as folder, embedded_redis(Path(folder)) as redis:
        told = {"LIG_PRELOAD": '["minilm"]', "LIG_MAX_BACKLOG": "1e9", **variables}
        with serving(SERVICE, root, redis.url, **told) as (port, _), contextlib.chdir(root):
            environment = {**os.environ, "PYTHONPATH": str(root), "LIG_REDIS_URL": redis.url, **told}
            worker = child.start([sys.executable, "-m", "worker"], environment=environment, quiet=True)
            try:
                wait_until_ready(port)
                yield port
            finally:
                child.stop(worker, 10)


async def seconds_of(port: int, sent: Sequence[str], granularity: str) -> float:
    """From sending a batch to the end of its last job."""
    options = {"model": "minilm", "granularity": granularity, "priority": "bulk"}
    began = time.perf_counter()
    connection = Connection(port)
    answer = await connection.ask("POST", "/v1/explain/batch", {"texts": list(sent), "options": options})
    for job in answer.json["jobs"]:
        url = f"{job['links']['self']}?wait=60&embed=false"
        while (found := (await connection.ask("GET", url)).json)["finished_at"] is None:
            pass
        if found["status"] != "succeeded":
            raise RuntimeError(f"a job of the batch {found['status']}: {found['problem']}")
    connection.close()
    return time.perf_counter() - began


def by_turns(checkouts: Sequence[Path] = (), rounds: int = ROUNDS) -> dict[str, Any]:
    """Jobs a second of each, and how many times those alone are done together: medians of the rounds."""
    with contextlib.ExitStack() as stack:
        ports = {
            "together": stack.enter_context(working(ROOT)),
            "alone": stack.enter_context(working(ROOT, **ALONE)),
            **{str(root): stack.enter_context(working(root)) for root in checkouts},
        }
        report: dict[str, Any] = {"texts": TEXTS, "words": list(WORDS_OF_A_TEXT), "rounds": rounds}
        for granularity in GRANULARITIES:
            found: dict[str, list[float]] = {name: [] for name in ports}
            for number in range(rounds + 1):
                sent = texts(f"{granularity} {number}")
                for name in list(ports)[number % len(ports) :] + list(ports)[: number % len(ports)]:
                    seconds = asyncio.run(seconds_of(ports[name], sent if number else sent[:8], granularity))
                    if number:  # the first round warms up
                        found[name].append(TEXTS / seconds)
                        print(granularity, name, round(TEXTS / seconds, 2), file=sys.stderr, flush=True)
            gains = [together / alone for together, alone in zip(found["together"], found["alone"], strict=True)]
            report[granularity] = {name: round(statistics.median(rates), 2) for name, rates in found.items()}
            report[granularity]["gain"] = round(statistics.median(gains), 2)
    return report


if __name__ == "__main__":
    print(json.dumps(by_turns([Path(each).resolve() for each in sys.argv[1:]]), indent=2))
