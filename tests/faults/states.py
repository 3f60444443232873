"""Redis not usable for a while, in every way there is: what `/readyz` said, who ended, and when jobs ran again.

Each state is tried on an idle service, and with one job running and two waiting.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import httpx

from tests.faults import aliens, verdicts
from tests.faults.orders import Caller, Order
from tests.faults.report import rows
from tests.faults.server import Fsync
from tests.faults.stack import Stack

SECONDS = 10.0
AT_ONCE = 4
JOB_SECONDS = 6.0
"""Of the job at work: it ends while Redis cannot be used, if Redis lets it."""
WAITING = 2
LOOK_SECONDS = 0.25
AGAIN_SECONDS = 120.0
"""How long a service is given to run jobs again."""

Enter = Callable[[Stack], AbstractContextManager[None]]


@dataclass(frozen=True)
class State:
    """One way. `loses`: the jobs in Redis are lost by it. `unusable`: no job can be accepted or run meanwhile."""

    name: str
    enter: Enter
    seconds: float = SECONDS
    loses: bool = False
    unusable: bool = True
    workers: int = 1
    fsync: Fsync = "always"


def all_states() -> list[State]:
    """The longest first, as a few are tried at once."""
    return [
        State("away for 150 s", lambda stack: stack.redis.away(), seconds=150),
        State("away for 40 s, three times, two workers", _three_outages, seconds=40, workers=2),
        State("a worker frozen for 38 s beside another", _worker_frozen, seconds=38, unusable=False, workers=2),
        State("away", lambda stack: stack.redis.away()),
        State("frozen", lambda stack: stack.redis.frozen()),
        State("full (maxmemory, noeviction)", lambda stack: stack.redis.full()),
        State("read-only (a replica)", lambda stack: stack.redis.read_only()),
        State("short of replicas", lambda stack: stack.redis.short_of_replicas()),
        State("password changed", lambda stack: stack.redis.password_changed()),
        State("commands forbidden (ACL)", lambda stack: stack.redis.forbidden()),
        State("disk full, everysec: refuses writes", lambda stack: stack.redis.disk_full(), fsync="everysec"),
        State("disk full, always: ends itself", lambda stack: stack.redis.disk_full()),
        State("snapshot failed", lambda stack: stack.redis.snapshot_failed()),
        _at_once("emptied (FLUSHALL)", lambda stack: stack.redis.empty(), loses=True),
        _at_once("an empty one in its place", lambda stack: stack.redis.replace(), loses=True),
        _at_once("alien entries: naming no computation", partial(_plant, aliens.without_computation)),
        _at_once("alien entries: computations that cannot be read", partial(_plant, aliens.unreadable)),
        _at_once("alien entries: keys of another type", partial(_plant, aliens.of_another_type)),
    ]  # fmt: skip


def attempt(folder: Path, state: State, busy: bool) -> dict[str, Any]:
    """One state on a service of its own; a line of the table."""
    numbers = itertools.count(1)

    def order(seconds: float = 0.05) -> Order:
        return Order(next(numbers), seconds)

    with (
        Stack(folder, workers=state.workers, fsync=state.fsync) as stack,
        stack.kept_up(),
        Caller(stack.urls, Random(0)) as caller,
        verdicts.Reader(stack.urls) as reader,
    ):
        stack.wait_until_ready()
        if busy:
            running = caller.send(order(JOB_SECONDS))
            assert running is not None
            _wait_until(lambda: reader.look(running).status == "running")
            for _ in range(WAITING):
                caller.send(order())
        at_stake = list(caller.accepted) if state.loses else []
        with _watched(stack.url) as said:
            with state.enter(stack):
                over = time.monotonic() + state.seconds
                while time.monotonic() < over:
                    caller.send(order())
                    time.sleep(1)
                meanwhile = list(said)
            mended = time.monotonic()
            again = _runs_again(caller, reader, order)
            with contextlib.suppress(AssertionError):
                _wait_until(lambda: stack.is_ready(stack.url), AGAIN_SECONDS)
        ready = stack.is_ready(stack.url)
        shown = meanwhile[-1] if state.seconds else _worst(said)
        reader.wait_for(list(caller.accepted), 2 * stack.lease)
        lost = [job_id for job_id in at_stake if reader.look(job_id).status == verdicts.MISSING]
        counted = verdicts.count(stack.urls, {i: o for i, o in caller.accepted.items() if i not in lost})
        return {
            "state": state.name,
            "at_work": busy,
            "unusable": state.unusable,
            "readyz": shown,
            "readyz_all": sorted({answer["said"] for answer in said}),
            "exits": [f"{times} × {name}" for name, times in Counter(map(str, stack.exits)).items()],
            "seconds_until_jobs_ran": again and round(again - mended, 1),
            "ready_again": ready,
            "lost_with_the_store": len(lost),
            "errors": caller.errors,
            **counted,
        }


def measure(folder: Path, *, only: str = "") -> list[dict[str, Any]]:
    """All states whose name contains `only`, idle and at work, a few at once."""
    tries = [(state, busy) for state in all_states() if only in state.name for busy in (False, True)]
    folders = [folder / f"state{number}" for number in range(len(tries))]
    for each in folders:
        each.mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(attempt, folders, *zip(*tries, strict=True)))


def faults_of(table: list[dict[str, Any]]) -> list[str]:
    """The promises that were broken."""
    return [f"Redis {row['state']}{', at work' if row['at_work'] else ''}: {'; '.join(found)}"
            for row in table if (found := _broken(row))]  # fmt: skip


def _broken(row: dict[str, Any]) -> list[str]:
    found = verdicts.broken(row)
    if row["exits"]:
        found.append(f"ended by themselves: {', '.join(row['exits'])}")
    if row["seconds_until_jobs_ran"] is None:
        found.append("jobs never ran again")
    if not row["ready_again"]:
        found.append("never ready again")
    if row["unusable"] and row["readyz"]["status"] == 200:
        found.append("/readyz said 200")
    if row["errors"]:
        found.append(f"answers that are errors: {row['errors'][0]}")
    return found


def markdown(table: list[dict[str, Any]]) -> str:
    """The report to read."""
    lines = [
        [
            row["state"],
            "at work" if row["at_work"] else "idle",
            row["readyz"]["said"],
            ", ".join(row["exits"]) or "none",
            "**never**" if row["seconds_until_jobs_ran"] is None else row["seconds_until_jobs_ran"],
            "yes" if row["ready_again"] else "**no**",
            row["accepted"],
            row["lost_with_the_store"],
            *(row[verdict] for verdict in verdicts.MEANING),
        ]
        for row in table
    ]
    heads = ["Redis", "service", "/readyz", "processes that ended", "seconds until jobs ran", "ready again",
             "jobs", "lost with Redis's data", *verdicts.MEANING.values()]  # fmt: skip
    broken = faults_of(table)
    return f"""All defaults, each state for {SECONDS:g} s unless it says so, on an idle service and with a job of \
{JOB_SECONDS:g} s at work and {WAITING} waiting; one job a second was sent, and the accepted ones count. Seconds \
are from the end of the state to the end of the first job that was sent after it. `/readyz` is its last answer in the \
state, and for what is over at once the last one that was not 200, if any. A full disk is a limit on the size of \
Redis's files.

{rows(heads, lines)}

{"Nothing was broken." if not broken else "**Broken:** " + "; ".join(broken)}
"""


def _runs_again(caller: Caller, reader: verdicts.Reader, order: Callable[[], Order]) -> float | None:
    """When the first job that is sent from now on has ended with its own result; one is sent every second."""
    began = due = time.monotonic()
    sent: dict[str, Order] = {}
    while time.monotonic() < began + AGAIN_SECONDS:
        if time.monotonic() >= due:
            due = time.monotonic() + 1
            probe = order()
            job_id = caller.send(probe)
            if job_id is not None:
                sent[job_id] = probe
        for each, its_order in sent.items():
            if reader.ended(each, wait=0) and verdicts.judge(its_order, reader.look(each)) is verdicts.Verdict.RIGHT:
                return time.monotonic()
        time.sleep(0.05)
    return None


@contextlib.contextmanager
def _watched(url: str) -> Iterator[list[dict[str, Any]]]:
    """What `/readyz` says, from now on."""
    said: list[dict[str, Any]] = []
    over = threading.Event()

    def look() -> None:
        with httpx.Client(timeout=10) as http:
            said.append(_readyz(http, url))
            while not over.wait(LOOK_SECONDS):
                said.append(_readyz(http, url))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield said
    finally:
        over.set()
        thread.join()


def _worst(said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The last answer that was not 200, where there is one."""
    return next((answer for answer in reversed(said) if answer["status"] != 200), said[-1])


def _readyz(http: httpx.Client, url: str) -> dict[str, Any]:
    try:
        answer = http.get(f"{url}/readyz")
    except httpx.TransportError as error:
        return {"status": None, "said": f"no answer ({type(error).__name__})"}
    told = answer.json()
    detail = f"{told['workers']} workers" if answer.is_success else f"{told['code']}: {told['detail']}"
    return {"status": answer.status_code, "said": f"{answer.status_code} {detail}"}


def _wait_until(true: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "this does not come to pass"
        time.sleep(0.05)


def _at_once(name: str, change: Callable[[Stack], None], *, loses: bool = False) -> State:
    """What needs no mending."""

    @contextlib.contextmanager
    def enter(stack: Stack) -> Iterator[None]:
        change(stack)
        yield

    return State(name, enter, seconds=0, loses=loses, unusable=False)


@contextlib.contextmanager
def _three_outages(stack: Stack) -> Iterator[None]:
    for _ in range(2):
        stack.redis.restart(pause=40)
        time.sleep(5)
    with stack.redis.away():
        yield


@contextlib.contextmanager
def _worker_frozen(stack: Stack) -> Iterator[None]:
    stack.workers[0].send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        stack.workers[0].send_signal(signal.SIGCONT)


def _plant(plant: Callable[[Any], None], stack: Stack) -> None:
    with stack.redis.connect() as redis:
        plant(redis)
