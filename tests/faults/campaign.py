"""Faults, one by one and two by two, drawn from a seed while jobs are sent; then everything is counted.

Every job that was answered 202 must end with its own answer, and with one.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import truth, verdicts
from tests.faults.faults import Fault, all_faults
from tests.faults.orders import JOB_SECONDS, Caller, Sender
from tests.faults.report import rows
from tests.faults.scripted_child import LOAD_VARIABLE
from tests.faults.stack import Stack

APIS = WORKERS = 2
JUST_AFTER = 1.5
"""Seconds after the first fault of a pair in which the second may still come."""
LOAD_SECONDS = "1.5"
"""How long the models take to load: long enough for a second fault to come while they do."""
CRASH_RETRIES = "8"
"""One job may be hit by several pairs; the default's bound on crashes is tested elsewhere."""
DRAIN_SECONDS = 120.0
SETTLE_SECONDS = 30.0
"""For jobs whose acceptance nobody heard of, and for the workers' housekeeping."""


@dataclass(frozen=True)
class Pair:
    """Two faults, the second so many seconds after the first began."""

    first: Fault
    second: Fault
    after: float

    @property
    def name(self) -> str:
        return f"{self.first.name} + {self.second.name}"

    def hit(self, dice: Random) -> None:
        """Returns when both are over."""
        dices = [Random(dice.random()) for _ in range(2)]  # each draws from its own, whichever is quicker
        thread = threading.Thread(target=self.first.hit, args=(dices[0],), daemon=True)
        thread.start()
        time.sleep(self.after)
        self.second.hit(dices[1])
        thread.join()


def draw_pair(faults: Sequence[Fault], dice: Random) -> Pair:
    """Any two kinds, the second at any moment within or just after the first."""
    first, second = dice.choice(faults), dice.choice(faults)
    return Pair(first, second, round(dice.uniform(0, first.seconds + JUST_AFTER), 2))


def plan(faults: Sequence[Fault], dice: Random) -> Iterator[Fault | Pair]:
    """By turns one by itself, each kind equally often, and a pair; without end."""
    while True:
        for fault in dice.sample(faults, len(faults)):
            yield fault
            yield draw_pair(faults, dice)


@dataclass(frozen=True)
class Injection:
    """What was injected, at which second of the run."""

    at: float
    what: Fault | Pair

    def told(self) -> dict[str, Any]:
        after = {"after": self.what.after} if isinstance(self.what, Pair) else {}
        return {"at": round(self.at, 1), "what": self.what.name, **after}


def break_things(stack: Stack, sender: Sender, dice: Random, *, minutes: float, between: float) -> list[Injection]:
    """Faults one after another while jobs are sent, until the jobs are sent or the time is up."""
    began = time.monotonic()
    faults, done = all_faults(stack), []
    for what in plan(faults, dice):
        at = time.monotonic() - began
        enough = not sender.is_alive() and len(done) >= 2 * len(faults)
        if at > minutes * 60 or enough:
            return done
        what.hit(Random(dice.random()))
        done.append(Injection(at, what))
        time.sleep(between)
    raise AssertionError("a plan has no end")


def measure(
    folder: Path, *, seed: int, jobs: int, minutes: float, lease: float, between: float = 1.0, rate: float = 2.5
) -> dict[str, Any]:
    """One whole run."""
    dice = Random(seed)
    variables = {LOAD_VARIABLE: LOAD_SECONDS, "LIG_CRASH_RETRIES": CRASH_RETRIES}
    with (
        Stack(folder, workers=WORKERS, apis=APIS, lease=lease, **variables) as stack,
        Caller(stack.urls, Random(dice.random())) as caller,
    ):
        stack.wait_until_ready()
        began = time.monotonic()
        sender = Sender(caller, Random(dice.random()), jobs=jobs, rate=rate)
        sender.start()
        with stack.kept_up():
            try:
                injected = break_things(stack, sender, dice, minutes=minutes, between=between)
            finally:
                sender.stop.set()
                sender.join()
            with verdicts.Reader(stack.urls) as reader:
                reader.wait_for(list(caller.accepted), DRAIN_SECONDS + 2 * lease)
            counted = verdicts.count(stack.urls, caller.accepted)
            with stack.redis.connect() as redis:
                server = redis.info("server")["redis_version"]
                left = truth.left_over(redis, SETTLE_SECONDS)
                computed = truth.finished(redis)
        return {
            "seed": seed,
            **counted,
            **truth.doubled(stack.redis.append_only_file(), computed),
            "left_in_redis": left,
            "refused": caller.refused,
            "answers_that_are_errors": caller.errors,
            "exits": [str(ended) for ended in stack.exits],
            "seconds": round(time.monotonic() - began, 1),
            "singles": Counter(each.what.name for each in injected if isinstance(each.what, Fault)),
            "pairs": Counter(each.what.name for each in injected if isinstance(each.what, Pair)),
            "injected": [each.told() for each in injected],
            "recovery_seconds": recoveries(stack),
            "together": sum(event["event"] == "together" for event in stack.points.events()),
            "lease_seconds": lease,
            "workers": WORKERS,
            "apis": APIS,
            "redis": f"{server}, appendfsync always",
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


def faults_of(result: dict[str, Any]) -> list[str]:
    """The promises that were broken."""
    found = verdicts.broken(result)
    if result["published_twice"] or result["published_never"]:
        found.append(f"written twice {result['published_twice']}, never {result['published_never']}")
    if any(result["left_in_redis"].values()):
        found.append(f"left in Redis {result['left_in_redis']}")
    if result["answers_that_are_errors"]:
        found.append(f"answers that are errors {len(result['answers_that_are_errors'])}")
    if result["exits"]:
        found.append(f"processes that ended by themselves: {', '.join(result['exits'])}")
    return found


def markdown(result: dict[str, Any]) -> str:
    """The report to read."""
    broken = faults_of(result)
    heads = {"accepted": "answered 202", "right": "ended with their own answer", "told_to_fail": "of them told to fail"}
    heads |= {str(verdict): meaning for verdict, meaning in verdicts.MEANING.items()}
    heads |= {"published_twice": "doubled", "run_more_than_once": "run more than once", "refused": "not accepted"}
    recovered = result["recovery_seconds"].items()
    return f"""{result["workers"]} workers with leases of {result["lease_seconds"]:g} s, {result["apis"]} APIs, Redis \
{result["redis"]}; seed {result["seed"]}. Jobs of {JOB_SECONDS[0]} to {JOB_SECONDS[1]} s of both priorities were sent \
to either API for {result["seconds"]:.0f} s, some of which had to fail with a code of their own, while faults were \
injected: each kind by itself, and pairs drawn from the seed, the second at a drawn moment within or just after the \
first; then the queue was left to drain. {result["together"]} times bulk jobs were computed together. What was \
not accepted met two APIs or a Redis that could not take it.

{rows(list(heads.values()), [[result[name] for name in heads]])}

{"Every promise was kept." if not broken else f"**Broken: {'; '.join(broken)}.**"} \
Results, and each layer of them, are counted in Redis's append-only file; doubled are those written twice.

{rows(["fault by itself", "times"], sorted(result["singles"].items()))}

{rows(["pair", "times"], sorted(result["pairs"].items()))}

Seconds from the fault to the next start of the job that it hit, waiting for a worker included (a process takes \
{LOAD_SECONDS} s to load its models here):

{
        rows(
            ["what was hit while it had a job", "jobs", "median", "longest"],
            [[name, r["count"], r["median"], r["longest"]] for name, r in recovered],
        )
    }
"""
