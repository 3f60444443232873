"""A worker and its process out of step: the process dies, Redis is away while it loads, and then jobs come.

Each try has a service of its own with all defaults and one worker. After the outage eight jobs are sent, some of which
must fail; a try in which one of them does not get its own answer is a hit.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import verdicts
from tests.faults.faults import stutter
from tests.faults.orders import Caller, orders
from tests.faults.report import rows
from tests.faults.scripted_child import LOAD_VARIABLE
from tests.faults.stack import Stack

TRIES = 24
AT_ONCE = 3
JOBS = 8
DIES_BEFORE_SECONDS = 1.0
AWAY_SECONDS = 4.0
LOAD_SECONDS = (2.5, 6.0)
"""How long the models take to load: on into the outage, and some beyond it."""
END_SECONDS = 120.0
OUTAGES = ("stopped for 4 s", "restarted", "stopped for 4 s, the worker frozen for 0.35 s again and again")


def attempt(folder: Path, outage: str, seed: int) -> dict[str, Any]:
    """One try; its verdicts."""
    dice = Random(seed)
    load = round(dice.uniform(*LOAD_SECONDS), 2)
    with (
        Stack(folder, workers=1, **{LOAD_VARIABLE: f"{load}"}) as stack,
        stack.kept_up(),
        Caller(stack.urls, dice) as caller,
        verdicts.Reader(stack.urls) as reader,
    ):
        stack.wait_until_ready()
        models = stack.workers[0].child()
        assert models is not None
        models.kill()
        time.sleep(DIES_BEFORE_SECONDS)
        if outage == "restarted":
            stack.redis.restart(pause=AWAY_SECONDS)
        else:
            with stack.redis.frozen():
                time.sleep(AWAY_SECONDS)
        sent = itertools.islice(orders(dice), JOBS)
        for order in sent:
            while caller.send(order) is None:  # Redis has only just come back
                time.sleep(0.1)
        if outage == OUTAGES[-1]:
            stutter(stack, dice)
        reader.wait_for(list(caller.accepted), END_SECONDS)
        return {
            "outage": outage,
            "load_seconds": load,
            **verdicts.count(stack.urls, caller.accepted),
            "exits": [str(ended) for ended in stack.exits],
        }


def measure(folder: Path, *, seed: int, tries: int = TRIES) -> dict[str, Any]:
    """All tries, each way by turns, a few at once."""
    dice = Random(seed)
    outages = list(itertools.islice(itertools.cycle(OUTAGES), tries))
    seeds = [dice.randrange(2**32) for _ in outages]
    folders = [folder / f"try{number}" for number in range(tries)]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(attempt, folders, outages, seeds))
    return {"seed": seed, "tries": found, "hits": sum(is_hit(each) for each in found)}


def is_hit(found: dict[str, Any]) -> bool:
    """Whether a job did not get its own answer."""
    return found["right"] < found["accepted"]


def faults_of(result: dict[str, Any]) -> list[str]:
    """The promises that were broken."""
    exits = [ended for each in result["tries"] for ended in each["exits"]]
    return [
        *([f"out of step in {result['hits']} of {len(result['tries'])} tries"] if result["hits"] else []),
        *([f"processes that ended by themselves: {', '.join(exits)}"] if exits else []),
    ]


def markdown(result: dict[str, Any]) -> str:
    """The report to read."""
    lines = []
    for outage in OUTAGES:
        tries = [each for each in result["tries"] if each["outage"] == outage]
        summed: Counter[str] = Counter()
        for each in tries:
            summed.update({name: each[name] for name in ("accepted", *verdicts.MEANING)})
        lines.append(
            [outage, len(tries), sum(map(is_hit, tries)), *(summed[n] for n in ("accepted", *verdicts.MEANING))]
        )
    heads = ["Redis was", "tries", "hits", "jobs", *verdicts.MEANING.values()]
    return f"""One worker, all defaults. The process with the models was killed; {DIES_BEFORE_SECONDS:g} s later, as \
it loaded again (for {LOAD_SECONDS[0]:g} to {LOAD_SECONDS[1]:g} s, drawn from seed {result["seed"]}), Redis was away \
for {AWAY_SECONDS:g} s; then {JOBS} jobs were sent. A hit is a try in which one of them did not get its own answer: \
{result["hits"]} of {len(result["tries"])}.

{rows(heads, lines)}
"""
