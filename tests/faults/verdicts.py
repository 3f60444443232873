"""What became of every job that was accepted, against what was promised."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from tests.faults.orders import Order

FINAL = frozenset({"succeeded", "failed", "cancelled"})
MISSING = "missing"
ANSWER_SECONDS = 60.0


class Verdict(StrEnum):
    """All but the first break a promise."""

    RIGHT = "right"
    LOST = "lost"  # nobody knows it any more
    STUCK = "stuck"  # it has not ended
    WRONGLY_FAILED = "wrongly_failed"  # without fault of its own
    OF_ANOTHER = "answer_of_another"  # another job's result or failure
    GONE = "result_gone"  # succeeded, and there is no result


MEANING = {
    Verdict.LOST: "lost",
    Verdict.STUCK: "stuck",
    Verdict.WRONGLY_FAILED: "wrongly failed",
    Verdict.OF_ANOTHER: "answer of another",
    Verdict.GONE: "result gone",
}
"""Headings of those that must be 0."""


@dataclass(frozen=True)
class Seen:
    """A job as the API shows it; `status` is MISSING where there is none."""

    status: str
    problem: Mapping[str, Any] | None = None
    result: dict[str, Any] | None = None
    attempts: int = 0


def judge(order: Order, seen: Seen) -> Verdict:
    """Whether the job got its own answer, and if not, what is wrong."""
    if seen.status == MISSING:
        return Verdict.LOST
    if seen.status == "succeeded":
        if seen.result is None:
            return Verdict.GONE
        right = order.fails is None and order.is_result(seen.result)
        return Verdict.RIGHT if right else Verdict.OF_ANOTHER
    if seen.status not in FINAL:
        return Verdict.STUCK
    problem = seen.problem or {}
    named = Order.of(problem.get("detail", ""))
    if named is not None and named != order:
        return Verdict.OF_ANOTHER
    own = named == order and problem.get("code") == order.fails
    return Verdict.RIGHT if own else Verdict.WRONGLY_FAILED


class Reader:
    """Reads jobs from whichever API answers."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = itertools.cycle(urls)
        self._http = httpx.Client(timeout=30)

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.close()

    def look(self, job_id: str) -> Seen:
        """The job, with its result where it has one."""
        shown = self._get(f"/jobs/{job_id}")
        if shown.status_code in (404, 410) and shown.json()["code"] != "result_expired":
            return Seen(MISSING)
        if shown.status_code == 410:
            return Seen("succeeded")
        job = shown.raise_for_status().json()
        result = job.get("result")
        if job["status"] == "succeeded" and result is None:
            asked = self._get(f"/jobs/{job_id}/result")
            result = asked.json() if asked.is_success else None
        return Seen(job["status"], job.get("problem"), result, job["attempts"])

    def ended(self, job_id: str, wait: float = 1.0) -> bool:
        """Whether the job is over, or nobody knows it; waits a moment for that."""
        with contextlib.suppress(httpx.TransportError):
            shown = self._http.get(f"{next(self._urls)}/jobs/{job_id}", params={"wait": wait, "embed": "false"})
            return shown.status_code in (404, 410) or shown.json().get("status") in FINAL
        return False

    def wait_for(self, job_ids: Sequence[str], seconds: float) -> None:
        """Until all have ended, or so long."""
        left, deadline = list(job_ids), time.monotonic() + seconds
        while left and time.monotonic() < deadline:
            if self.ended(left[0]):
                left.pop(0)

    def _get(self, path: str) -> httpx.Response:
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            with contextlib.suppress(httpx.TransportError):
                shown = self._http.get(f"{next(self._urls)}{path}")
                if shown.status_code != 503:
                    return shown
            assert time.monotonic() < deadline, f"no API answers {path}"
            time.sleep(0.1)


def count(urls: Sequence[str], accepted: Mapping[str, Order]) -> dict[str, Any]:
    """How many jobs there are of each verdict; what is wrong with those that are not right, in words."""
    found: Counter[Verdict] = Counter()
    wrong: list[str] = []
    attempts: list[int] = []
    with Reader(urls) as reader:
        for job_id, order in accepted.items():
            seen = reader.look(job_id)
            verdict = judge(order, seen)
            found[verdict] += 1
            attempts.append(seen.attempts)
            if verdict is not Verdict.RIGHT:
                problem = seen.problem or {}
                wrong.append(f"{job_id} '{order.text}': {verdict}, {seen.status} {problem.get('code', '')}".rstrip())
    return {
        "accepted": len(accepted),
        "told_to_fail": sum(order.fails is not None for order in accepted.values()),
        **{str(verdict): found[verdict] for verdict in Verdict},
        "run_more_than_once": sum(number > 1 for number in attempts),
        "most_attempts": max(attempts, default=0),
        "not_as_promised": wrong,
    }


def broken(counted: Mapping[str, Any]) -> list[str]:
    """The promises that were broken, each with how often."""
    return [f"{meaning} {counted[verdict]}" for verdict, meaning in MEANING.items() if counted[verdict]]
