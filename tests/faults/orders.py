"""The jobs that are sent, and what must come of each: its own result, or its own failure."""

from __future__ import annotations

import itertools
import re
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx

from lig_core.errors import LigError, ModelChanged, NotConverged, OutOfMemory, UnsupportedModel

LAYERS = 2
FAILURES: dict[str, type[LigError]] = {
    error.code: error for error in (NotConverged, OutOfMemory, ModelChanged, UnsupportedModel)
}
"""What a job may be told to fail with."""
FAILING_SHARE = 0.2
JOB_SECONDS = (0.05, 0.5)
TEXT = re.compile(r"job(\d+) (?:fail (\w+) )?(\d+\.\d\d)")
REFUSALS = frozenset({409, 429, 503})
"""What a client may be told to come back after; 409 while the first try with its idempotency key is looked at."""


@dataclass(frozen=True)
class Order:
    """One job: how long it takes, and the code that it must fail with, or None where it must succeed."""

    number: int
    seconds: float
    fails: str | None = None

    @property
    def text(self) -> str:
        """What the engine is told, and what a failure says of itself."""
        return f"job{self.number} {f'fail {self.fails} ' if self.fails else ''}{self.seconds:.2f}"

    @classmethod
    def of(cls, text: str) -> Order | None:
        """The order that a text is of, if it is of one."""
        found = TEXT.fullmatch(text)
        return cls(int(found[1]), float(found[3]), found[2]) if found else None

    def value(self, layer: int) -> float:
        """The one entry of a layer's map."""
        return float(self.number * LAYERS + layer)

    def is_result(self, result: dict[str, Any]) -> bool:
        """Whether this is its own, in all its parts."""
        layers = {str(layer): [[self.value(layer)]] for layer in range(LAYERS)}
        found = {index: layer["z2z"]["matrix"] for index, layer in result.get("layers", {}).items()}
        return result.get("text") == self.text and found == layers


def orders(dice: Random) -> Iterator[Order]:
    """Some that must succeed and some that must fail, without end."""
    for number in itertools.count(1):
        fails = dice.choice(sorted(FAILURES)) if dice.random() < FAILING_SHARE else None
        yield Order(number, round(dice.uniform(*JOB_SECONDS), 2), fails)


class Caller:
    """Hands orders in at any of the APIs, and the next one where that one refuses, as a balancer would.

    `accepted` maps the id of each job that was answered 202 to its order.
    """

    def __init__(self, urls: Sequence[str], dice: Random, *, timeout: float = 10.0) -> None:
        self._urls, self._dice = urls, dice
        self._http = httpx.Client(timeout=timeout)
        self.accepted: dict[str, Order] = {}
        self.refused = 0
        self.errors: list[str] = []
        """Answers that were neither an acceptance nor a refusal that says to come back."""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def send(self, order: Order) -> str | None:
        """The job's id; None where it was refused everywhere."""
        body = {"text": order.text, "model": "minilm", "priority": self._dice.choice(["interactive", "bulk"])}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        for url in self._dice.sample(self._urls, len(self._urls)):
            try:
                answer = self._http.post(f"{url}/explain", json=body, headers=headers)
            except httpx.TransportError:
                continue
            if answer.is_success:
                job_id: str = answer.json()["id"]
                self.accepted[job_id] = order
                return job_id
            if answer.status_code not in REFUSALS:
                self.errors.append(f"{answer.status_code} {answer.text[:200]}")
        self.refused += 1
        return None


class Sender(threading.Thread):
    """Sends so many orders at a steady rate; what an outage held up follows at once."""

    def __init__(self, caller: Caller, dice: Random, *, jobs: int, rate: float) -> None:
        super().__init__(daemon=True)
        self.caller, self._dice, self._jobs, self._rate = caller, dice, jobs, rate
        self.stop = threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        for order in orders(self._dice):
            if self.stop.is_set() or len(self.caller.accepted) >= self._jobs:
                return
            self.caller.send(order)
            due += 1 / self._rate
            self.stop.wait(max(0.0, due - time.monotonic()))
