"""Retries: when a call is sent again, and after how long. Sends nothing and waits for nothing."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from lig_core.client.answers import ServiceUnreachable, is_of_a_proxy, problem_of
from lig_core.client.calls import Call

BACKOFF_SECONDS = 0.25
"""Longest pause before the first repetition, where the service did not name one; doubles with each, up to a limit."""

LONGEST_BACKOFF_SECONDS = 30.0
"""That limit: who asks for an hour is back soon after the service is."""

JITTER = 0.1
"""The share by which a pause may be longer than named, so that clients turned away together do not return together."""


@dataclass(frozen=True)
class RetryPolicy:
    """The attempts that a call has, and the seconds that it may take with all its pauses."""

    max_retries: int = 5
    max_seconds: float = 300.0


class Attempts:
    """The attempts at one call: after each that was no answer, how long to pause, or the error to raise."""

    def __init__(self, call: Call[Any], policy: RetryPolicy, deadline: float | None = None) -> None:
        self._call, self._left = call, policy.max_retries
        self._end = time.monotonic() + policy.max_seconds
        if deadline is not None:
            self._end = min(self._end, deadline)
        self._backoff = BACKOFF_SECONDS
        self._lost_an_answer = False

    def after_silence(self, error: httpx.RequestError) -> float:
        """Seconds to pause after a lost connection; raises ServiceUnreachable when it was the last attempt."""
        pause = self._after_loss(None)
        if pause is None:
            reason = str(error) or type(error).__name__
            raise ServiceUnreachable(
                f"no answer from {_address(error.request)} ({reason}); start the service with: lig serve"
            ) from error
        return pause

    def after(self, response: httpx.Response) -> float | None:
        """None if the response is an answer, else seconds to pause; raises ServiceError when it is a refusal.

        Where a proxy has no service to ask, or lost its answer, that is a lost connection.
        """
        if response.is_success:
            return None
        if is_of_a_proxy(response):
            if (pause := self._after_loss(_retry_after(response))) is None:
                raise ServiceUnreachable(
                    f"a proxy at {_address(response.request)} answered {response.status_code}: "
                    "no service of those behind it does"
                )
            return pause
        if self._lost_an_answer and response.status_code in self._call.fine_if_repeated:
            return None
        pause = self._pause(_retry_after(response)) if response.status_code in self._call.again else None
        if pause is None:
            raise problem_of(response)
        return pause

    def _after_loss(self, named: float | None) -> float | None:
        self._lost_an_answer = True
        return self._pause(named)

    def _pause(self, named: float | None) -> float | None:
        self._left -= 1
        pause = random.uniform(self._backoff / 2, self._backoff) if named is None else named * _a_little_more()
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        return pause if self._left >= 0 and time.monotonic() + pause < self._end else None


def _address(request: httpx.Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc.decode()}"


def _a_little_more() -> float:
    return 1 + random.uniform(0, JITTER)


def _retry_after(response: httpx.Response) -> float | None:
    """The header's seconds, or the seconds until its date (RFC 9110, 10.2.3)."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
