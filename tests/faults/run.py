"""Break everything, again and again, while jobs are sent; then count.

    python -m tests.faults.run --jobs N --minutes M

Every job that was answered 202 must end with its own result, and with one.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from redis import Redis

from lig_core.queue import names
from tests.faults.points import CHILD_POINTS, WORKER_POINTS
from tests.faults.scripted_child import LAYERS
from tests.faults.stack import Stack
from tests.faults.truth import publications

JOB_SECONDS = (0.05, 0.5)
JOBS_PER_SECOND = 2.5
WORKERS = 2
PARTS = ("head", *(f"layer:{n}" for n in range(LAYERS)), "finished")


class Sender(threading.Thread):
    """Sends jobs over HTTP; `accepted` maps the id of each job that was answered 202 to its text."""

    def __init__(self, url: str, jobs: int, rate: float) -> None:
        super().__init__(daemon=True)
        self._url, self._jobs, self._rate = url, jobs, rate
        self.accepted: dict[str, str] = {}
        self.refused = 0
        self.stop = threading.Event()

    def run(self) -> None:
        dice = random.Random(1)
        with httpx.Client(base_url=self._url, timeout=10) as http:
            for number in itertools.count():
                if self.stop.is_set() or len(self.accepted) >= self._jobs:
                    return
                text = f"job{number} {dice.uniform(*JOB_SECONDS):.2f}"
                priority = dice.choice(["interactive", "bulk"])
                try:
                    answer = http.post("/explain", json={"text": text, "model": "minilm", "priority": priority})
                except httpx.TransportError:
                    self.refused += 1
                else:
                    if answer.status_code == 202:
                        self.accepted[answer.json()["id"]] = text
                    else:
                        self.refused += 1
                self.stop.wait(1 / self._rate)


class Faults:
    """Each method is one fault; a line in the log of events says which process was hit while it had a job."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._dice = random.Random(2)
        self.done: Counter[str] = Counter()

    def all(self) -> list[tuple[str, Callable[[], None]]]:
        points = [
            (f"{who} at '{name}'", lambda name=name: self._point(name))
            for who, names in (("process with models killed", CHILD_POINTS), ("worker killed", WORKER_POINTS))
            for name in names
        ]
        return [
            *points,
            ("process with models killed at any moment", lambda: self._kill(child=True)),
            ("worker killed at any moment", lambda: self._kill(child=False)),
            ("worker frozen past its lease", lambda: self._freeze(both=False)),
            ("worker and models frozen past the lease", lambda: self._freeze(both=True)),
            ("Redis killed and started again", lambda: self._stack.restart_redis(pause=1.0)),
            ("API killed", self._stack.kill_api),
            ("all connections to Redis cut", self._cut_connections),
        ]  # fmt: skip

    def inject(self, name: str, fault: Callable[[], None]) -> None:
        fault()
        self.done[name] += 1

    def _point(self, name: str) -> None:
        self._stack.points.arm(name)
        deadline = time.monotonic() + 5
        while self._stack.points.armed(name) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._stack.points.disarm(name)

    def _kill(self, *, child: bool) -> None:
        worker = self._dice.choice(self._stack.workers)
        models = self._stack.child_of(worker)
        if models is None:
            return
        self._stack.points.note("killed models" if child else "killed worker", "", models.pid)
        (models if child else worker).kill()

    def _freeze(self, *, both: bool) -> None:
        worker = self._dice.choice(self._stack.workers)
        models = self._stack.child_of(worker)
        with contextlib.suppress(Exception):
            worker.send_signal(signal.SIGSTOP)
            if both and models is not None:
                models.suspend()
            self._stack.points.note("frozen", "", models.pid if models else 0)
            time.sleep(self._stack.lease * 1.7)
        with contextlib.suppress(Exception):
            if both and models is not None:
                models.resume()
        worker.send_signal(signal.SIGCONT)

    def _cut_connections(self) -> None:
        with self._stack.connect() as redis:
            for kind in ("normal", "pubsub"):
                redis.client_kill_filter(_type=kind, skipme=True)


def break_things(stack: Stack, jobs: int, minutes: float, between: float, rate: float) -> tuple[Sender, Faults]:
    """Faults one after another while jobs are sent, at least each once."""
    stack.wait_until_ready()
    sender, faults = Sender(stack.url, jobs, rate), Faults(stack)
    sender.start()
    until = time.monotonic() + minutes * 60
    for name, fault in itertools.cycle(faults.all()):
        if time.monotonic() > until or (not sender.is_alive() and len(faults.done) == len(faults.all())):
            break
        faults.inject(name, fault)
        time.sleep(between)
        stack.keep_up()
    sender.stop.set()
    sender.join()
    return sender, faults


def drain(stack: Stack, accepted: dict[str, str], seconds: float) -> None:
    """Wait until everything that was accepted ended."""
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        left = list(accepted)
        while left and time.monotonic() < deadline:
            stack.keep_up()
            with contextlib.suppress(httpx.TransportError):
                shown = http.get(f"/jobs/{left[0]}", params={"wait": 1, "embed": "false"})
                if shown.status_code == 404 or shown.json().get("status") in {"succeeded", "failed", "cancelled"}:
                    left.pop(0)


def count(stack: Stack, accepted: dict[str, str]) -> dict[str, Any]:
    """Compare what was promised with what is there."""
    ended: Counter[str] = Counter()
    wrong, attempts = [], []
    with httpx.Client(base_url=stack.url, timeout=30) as http:
        for job_id, text in accepted.items():
            shown = http.get(f"/jobs/{job_id}")
            job = shown.json()
            state = job["status"] if shown.is_success else "missing"
            if state == "succeeded" and not _is_right(job.get("result"), text):
                state = "wrong result"
            ended[state] += 1
            attempts.append(job.get("attempts", 0))
            if state != "succeeded":
                wrong.append(f"{job_id} {text}: {state} {job.get('problem', '')}")
    published = publications(stack.append_only_file())
    with stack.connect() as redis:
        computations = [raw.decode() for raw in redis.zrange(names.key("finished", "lig"), 0, -1)]
    return {
        "accepted": len(accepted),
        "finished": ended["succeeded"],
        "lost": len(accepted) - ended["succeeded"],
        "computed": len(computations),
        "published_twice": sum(1 for times in published.values() if times > 1),
        "published_never": sum(1 for each in computations for part in PARTS if published[each, part] == 0),
        "run_more_than_once": sum(1 for number in attempts if number > 1),
        "not_as_promised": wrong,
        "left_in_redis": _left_over(stack.connect()),
    }


def recoveries(stack: Stack) -> dict[str, Any]:
    """Seconds from a kill to the next start of the job that was hit, by what was hit."""
    events = stack.points.events()
    found: dict[str, list[float]] = {"killed models": [], "killed worker": [], "frozen": []}
    for index, event in enumerate(events):
        if event["event"] not in found:
            continue
        started = [e["job"] for e in events[:index] if e["event"] == "started" and e["pid"] == event["pid"]]
        job = event["job"] or (started[-1] if started else None)
        again = next((e for e in events[index:] if e["event"] == "started" and e["job"] == job), None)
        if again is not None:  # otherwise it had no job, or the job had just ended
            found[event["event"]].append(again["time"] - event["time"])
    return {
        name: {"count": len(seconds), "median": round(statistics.median(seconds), 2), "longest": round(max(seconds), 2)}
        for name, seconds in found.items()
        if seconds
    }


def _is_right(result: Any, text: str) -> bool:
    return bool(result) and result["text"] == text and list(result["layers"]) == [str(n) for n in range(LAYERS)]


def _left_over(redis: Redis) -> dict[str, float]:
    with redis:
        kinds = ("waiting", "popped", "leases")
        left = {kind: redis.zcard(names.key(kind, "lig")) for kind in kinds}
        owed = float(redis.get(names.key("backlog", "lig")) or 0)
        return {**left, "unfinished": redis.scard(names.key("live", "lig", "anonymous")), "backlog": round(owed, 3)}


def measure(jobs: int, minutes: float, between: float, lease: float, rate: float) -> dict[str, Any]:
    """One whole run."""
    with (
        tempfile.TemporaryDirectory(prefix="lig-faults-") as folder,
        Stack(Path(folder), workers=WORKERS, lease=lease) as stack,
    ):
        began = time.monotonic()
        sender, faults = break_things(stack, jobs, minutes, between, rate)
        drain(stack, sender.accepted, seconds=120 + 2 * lease)
        counted = count(stack, sender.accepted)
        with stack.connect() as redis:
            server = redis.info("server")["redis_version"]
        return {
            **counted,
            "refused": sender.refused,
            "seconds": round(time.monotonic() - began, 1),
            "faults": dict(faults.done),
            "recovery_seconds": recoveries(stack),
            "lease_seconds": stack.lease,
            "workers": WORKERS,
            "redis": f"{server}, appendfsync everysec",
            "python": platform.python_version(),
        }


def markdown(result: dict[str, Any]) -> str:
    """The report to read."""
    kept = result["accepted"] == result["finished"] and not result["published_twice"]
    rows = "\n".join(f"| {name} | {times} |" for name, times in result["faults"].items())
    recovery = "\n".join(
        f"| {name} | {r['count']} | {r['median']} | {r['longest']} |" for name, r in result["recovery_seconds"].items()
    )
    return f"""# Jobs under faults

`make faults`: {result["workers"]} workers with leases of {result["lease_seconds"]:.0f} s (20 s by default), one API, \
Redis {result["redis"]}. Jobs of {JOB_SECONDS[0]} to {JOB_SECONDS[1]} s of both priorities were sent over HTTP for \
{result["seconds"]:.0f} s while the faults below were injected one after another; then the queue was left to drain. \
What was not accepted met a stopped API or Redis.

| answered 202 | ended with their result | lost | result written twice | run more than once | not accepted |
|---|---|---|---|---|---|
| {result["accepted"]} | {result["finished"]} | {result["lost"]} | {result["published_twice"]} | \
{result["run_more_than_once"]} | {result["refused"]} |

{"Every promise was kept." if kept else "**A promise was broken.**"} \
Results, and each layer of them, are counted in Redis's append-only file.

| fault | times |
|---|---|
{rows}

Seconds from the fault to the next start of the job that it hit, waiting for a worker included:

| what was hit while it had a job | jobs | median | longest |
|---|---|---|---|
{recovery}
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, default=450)
    arguments.add_argument("--minutes", type=float, default=3.0)
    arguments.add_argument("--between", type=float, default=1.0, help="seconds between two faults")
    arguments.add_argument("--lease", type=float, default=2.0, help="LIG_LEASE of the workers, in seconds")
    arguments.add_argument("--rate", type=float, default=JOBS_PER_SECOND, help="jobs sent a second")
    arguments.add_argument("--out", type=Path, default=Path("benchmarks"))
    given = arguments.parse_args()
    result = measure(given.jobs, given.minutes, given.between, given.lease, given.rate)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "faults.json").write_text(json.dumps(result, indent=1) + "\n")
    (given.out / "faults.md").write_text(markdown(result))
    print(markdown(result))
    if result["lost"] or result["published_twice"] or any(result["left_in_redis"].values()):
        sys.exit(f"not as promised: {result['not_as_promised']} {result['left_in_redis']}")


if __name__ == "__main__":
    main()
