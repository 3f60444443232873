"""What the service itself costs: `python -m benchmarks.service`, or `make bench-service`.

Starts an embedded Redis, one API process and one worker, and writes benchmarks/service.json and benchmarks/service.md.
Two engines: minilm is the real one; the scripted one sleeps for as long as the text says and so takes no processor
from the API, as a worker on another machine or a GPU would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks import batches
from benchmarks.http_load import (
    PATIENCE_SECONDS,
    TEXT,
    Answer,
    Connection,
    body,
    closed_loop,
    open_loop,
    wait_until_ready,
)
from service.process import child
from service.process.embedded import embedded_redis
from tests.support.places import WORKER

ROOT = Path(__file__).parents[1]
OUT = ROOT / "benchmarks"
REAL = (sys.executable, "-m", "worker")
SCRIPTED = (sys.executable, str(WORKER), os.devnull)
ACCEPTED, AT_ONCE, RUNS = 3000, 16, 5
STEADY_RATE, STEADY_SECONDS = 50.0, 20.0
ALONE = 60
OVERLOAD_JOB_SECONDS, OVERLOAD_CLIENTS, OVERLOAD = 0.05, 300, 10.0


@dataclass(frozen=True)
class Running:
    """The stack: where it listens, and the API's process."""

    port: int
    api: psutil.Process


@contextlib.contextmanager
def stack(worker: Sequence[str], **variables: str) -> Iterator[Running]:
    with tempfile.TemporaryDirectory() as folder, embedded_redis(Path(folder)) as redis, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "LIG_REDIS_URL": redis.url, **variables}
        api = child.start(
            [sys.executable, "-m", "service.process.server", "--listener-fd", str(listener.fileno())],
            environment=environment,
            keep_open=[listener.fileno()],
            quiet=True,
        )
        working = child.start(worker, environment=environment, quiet=True)
        try:
            port = listener.getsockname()[1]
            wait_until_ready(port)
            yield Running(port, psutil.Process(api.pid))
        finally:
            for process in (working, api):
                child.stop(process, 10)


def accepted_per_second() -> dict[str, Any]:
    """The middle one of some runs, for the machine's speed swings; and the rate of each."""
    runs = sorted((_accept_all() for _ in range(RUNS)), key=lambda run: float(run["per_second"]))
    return runs[RUNS // 2] | {"all_per_second": [run["per_second"] for run in runs]}


def _accept_all() -> dict[str, Any]:
    """Distinct posts as fast as one API process takes them, while the worker is busy with the first."""
    with stack(SCRIPTED, LIG_MAX_BACKLOG="1e9") as running:
        asyncio.run(closed_loop(running.port, 200, AT_ONCE, "sleep 600.{:04d}"))  # threads, scripts, the model's config
        before = running.api.cpu_times()
        answers, seconds = asyncio.run(closed_loop(running.port, ACCEPTED, AT_ONCE, "sleep 601.{:04d}"))
        after = running.api.cpu_times()
    _require(answers, {202})
    processor = after.user + after.system - before.user - before.system
    return {
        "posts": len(answers),
        "at_once": AT_ONCE,
        "per_second": round(len(answers) / seconds),
        **_milliseconds(answers),
        "api_processor_ms_per_post": round(processor / len(answers) * 1e3, 2),
    }


def while_busy() -> dict[str, Any]:
    """Posts at a steady rate while the real worker computes without a pause."""
    with stack(REAL, LIG_MAX_BACKLOG="1e9") as running:
        asyncio.run(_one_after_another(running.port, 2, "warm"))  # the model is loaded
        answers = asyncio.run(open_loop(running.port, STEADY_RATE, STEADY_SECONDS, TEXT + " {}"))
    _require(answers, {202})
    return {"posts": len(answers), "offered_per_second": STEADY_RATE, **_milliseconds(answers)}


def overhead() -> dict[str, Any]:
    """From sending a request to holding its result, less the computing; one job at a time."""
    with stack(REAL) as running:
        asyncio.run(_one_after_another(running.port, 5, "warm"))
        waited = asyncio.run(_one_after_another(running.port, ALONE, "wait"))
        followed = asyncio.run(_one_after_another(running.port, ALONE, "events"))
    return {"jobs": ALONE, "prefer_wait_ms": _spread(waited), "events_ms": _spread(followed)}


async def _one_after_another(port: int, jobs: int, how: str) -> list[float]:
    """Seconds of each job that were not computing. Its stages are told by the job itself afterwards."""
    connection, found = Connection(port), []
    for number in range(jobs):
        began = time.perf_counter()
        if how == "events":
            answer = await connection.ask("POST", "/v1/explain", body(f"{TEXT} {how} {number}"))
            connection.close()  # it would be idle for as long as the job takes, and the server closes idle ones
            stream = Connection(port)
            await stream.send("GET", f"{answer.json['links']['self']}/events")
            await stream.read_until(b"event: succeeded")
            stream.close()
        else:
            answer = await connection.ask("POST", "/v1/explain", body(f"{TEXT} {how} {number}"), Prefer="wait=60")
            _require([answer], {200})
        seconds = time.perf_counter() - began
        job = (await connection.ask("GET", f"{answer.json['links']['self']}?embed=false")).json
        found.append(seconds - job["timings"]["compute"] - job["timings"]["load"])
    connection.close()
    return found


def overload() -> dict[str, Any]:
    """Ten times what one worker can do, from clients that come back when they are told to, until all have a result."""
    sustainable = 1 / OVERLOAD_JOB_SECONDS
    with stack(SCRIPTED, LIG_MAX_BACKLOG="2") as running:
        asyncio.run(_teach(running.port))
        began = time.perf_counter()
        seen, first, tries = asyncio.run(_insist(running.port, sustainable * OVERLOAD))
        seconds = time.perf_counter() - began
    return {
        "sustainable_per_second": sustainable,
        "offered_per_second": sustainable * OVERLOAD,
        "clients": OVERLOAD_CLIENTS,
        "succeeded": len(tries),
        "statuses": {str(status): count for status, count in sorted(Counter(seen).items())},
        "posts_per_client": {"median": statistics.median(tries), "most": max(tries)},
        "seconds": round(seconds, 1),
        "seconds_at_least": OVERLOAD_CLIENTS / sustainable,
        "accepted_p99_ms": _spread([each.seconds for each in first])["p99"],
    }


async def _teach(port: int) -> None:
    """Let the service measure how long these jobs take."""
    connection = Connection(port)
    for number in range(20):
        await connection.ask("POST", "/v1/explain", body(_job(10_000 + number)), Prefer="wait=30")
    connection.close()
    await asyncio.sleep(6)  # what was read of the rate is read again


def _job(number: int) -> str:
    return f"sleep {OVERLOAD_JOB_SECONDS}{number:06d}"


async def _insist(port: int, rate: float) -> tuple[list[int], list[Answer], list[int]]:
    """All statuses, the accepting answers, and how often each client had to post."""
    seen: list[int] = []
    accepting: list[Answer] = []
    tries: list[int] = []

    async def client(number: int) -> None:
        connection, posts = Connection(port), 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                answer = await connection.ask("POST", "/v1/explain", body(_job(number)))
                posts += 1
                seen.append(answer.status)
                if answer.status < 300:
                    break
                connection.close()  # the server closes idle ones
                await asyncio.sleep(float(answer.headers["retry-after"]))
            accepting.append(answer)
            url = answer.json["links"]["self"]
            while (job := (await connection.ask("GET", f"{url}?wait=30&embed=false")).json)["finished_at"] is None:
                pass
        assert job["status"] == "succeeded", job
        tries.append(posts)
        connection.close()

    async with asyncio.TaskGroup() as group:
        for number in range(OVERLOAD_CLIENTS):
            group.create_task(client(number))
            await asyncio.sleep(1 / rate)
    return seen, accepting, tries


def _require(answers: Sequence[Answer], statuses: set[int]) -> None:
    others = [answer for answer in answers if answer.status not in statuses]
    if others:
        raise RuntimeError(f"{len(others)} answers of another status, such as {others[0].status}: {others[0].body!r}")


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered) * 1e3, 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1e3, 1),
    }


def _milliseconds(answers: Sequence[Answer]) -> dict[str, float]:
    return {f"{name}_ms": value for name, value in _spread([answer.seconds for answer in answers]).items()}


PARTS = {
    "accepted": accepted_per_second,
    "while_busy": while_busy,
    "overhead": overhead,
    "overload": overload,
    "batches": batches.by_turns,
}


def main(names: Sequence[str]) -> None:
    stored = OUT / "service.json"
    report = json.loads(stored.read_text()) if names and stored.is_file() else {}
    report["machine"] = {"processors": os.cpu_count(), "kind": platform.machine(), "python": platform.python_version()}
    for name in names or PARTS:
        before = os.getloadavg()[0]
        report[name] = PARTS[name]() | {"load_average_before": round(before, 1)}
        print(name, json.dumps(report[name]), flush=True)
    stored.write_text(json.dumps(report, indent=2) + "\n")
    if report.keys() >= PARTS.keys():
        (OUT / "service.md").write_text(page(report))


def page(report: dict[str, Any]) -> str:
    """The figures in words."""
    accepted, busy, alone, over, batch = (report[name] for name in PARTS)
    waited, followed = alone["prefer_wait_ms"], alone["events_ms"]
    loads = ", ".join(f"{report[name]['load_average_before']:g}" for name in PARTS)
    at_once, steady = accepted["at_once"], busy["offered_per_second"]
    rows = [
        (
            f"accepted `POST /explain` a second, {at_once} at once, all different; the median of {RUNS} runs",
            "≥ 300",
            f"{accepted['per_second']} ({', '.join(map(str, accepted['all_per_second']))})",
        ),
        ("the API's processor time for one", "", f"{accepted['api_processor_ms_per_post']} ms"),
        ("its latency at that rate, median and p99", "", f"{accepted['p50_ms']} and {accepted['p99_ms']} ms"),
        (f"latency at {steady:g} a second while the worker computes minilm, median", "", f"{busy['p50_ms']} ms"),
        ("the same, p99", "≤ 100 ms", f"{busy['p99_ms']} ms"),
        (
            "from sending to the result in hand, less computing, with `Prefer: wait`, median and p99",
            "≤ 15 ms",
            f"{waited['p50']} and {waited['p99']} ms",
        ),
        (
            "from sending to the final event, less computing, median and p99",
            "≤ 15 ms",
            f"{followed['p50']} and {followed['p99']} ms",
        ),
        *(
            (
                f"jobs a second of a batch of {batch['texts']} short texts ({granularity}), together and alone",
                "",
                f"{batch[granularity]['together']:g} and {batch[granularity]['alone']:g}, "
                f"{batch[granularity]['gain']:g} times in the same round",
            )
            for granularity in batches.GRANULARITIES
        ),
    ]
    table = "\n".join(f"| {what} | {wanted} | {measured} |" for what, wanted, measured in rows)
    statuses = ", ".join(f"{count} × {status}" for status, count in over["statuses"].items())
    posts = over["posts_per_client"]
    return f"""# What the service itself costs

`make bench-service`: one API process, one worker, Redis and the senders on one machine of
{report["machine"]["processors"]} processors (load averages before each part: {loads}).

| what | wanted | measured |
|---|---|---|
{table}

Overload: {over["clients"]} clients come at {over["offered_per_second"]:g} a second to a worker that does
{over["sustainable_per_second"]:g}, with room for 2 s of work, and come back when `Retry-After` says.
Answers: {statuses}. {over["succeeded"]} of {over["clients"]} got their result, in {over["seconds"]} s of at least
{over["seconds_at_least"]:g}; posts a client: median {posts["median"]:g}, most {posts["most"]}.
p99 of an accepted POST meanwhile: {over["accepted_p99_ms"]} ms.
"""


if __name__ == "__main__":
    main(sys.argv[1:])
