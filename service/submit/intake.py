"""The gate that all work goes through, one text or many: checked, costed, and accepted whole or not at all."""

from __future__ import annotations

from typing import Any

from service.jobs.job import Accepted, JobStore, Limits
from service.keys.keyring import Caller
from service.lifecycle import Lifecycle
from service.submit.body import BatchFaults, parse_batch, parse_submission
from service.submit.checks import Preflight
from service.submit.headers import Terms
from service.webhooks.policy import WebhookPolicy

SECONDS_PER_MINUTE = 60.0


class Intake:
    """Accepts what was posted. Its methods block, and raise every LigError that a submission can meet."""

    def __init__(
        self, jobs: JobStore, preflight: Preflight, webhooks: WebhookPolicy, lifecycle: Lifecycle, max_batch: int
    ) -> None:
        self._jobs, self._preflight, self._webhooks = jobs, preflight, webhooks
        self._lifecycle, self._max_batch = lifecycle, max_batch

    def accept(self, caller: Caller, body: Any, terms: Terms) -> Accepted:
        """One text."""
        self._lifecycle.refuse_while_draining()
        posted = parse_submission(body)
        if posted.webhook is not None:
            self._webhooks.require(posted.webhook)
        submission = self._preflight.submission(
            posted.asked(), fresh=terms.fresh, webhook=posted.webhook, traceparent=terms.traceparent
        )
        return self._jobs.submit(caller.name, [submission], limits=limits(caller), idempotency=terms.idempotency)

    def accept_batch(self, caller: Caller, body: Any, terms: Terms) -> Accepted:
        """Many texts, as one group."""
        self._lifecycle.refuse_while_draining()
        requests, webhook = parse_batch(body, self._max_batch)
        if webhook is not None:
            self._webhooks.require(webhook)
        faults, submissions = BatchFaults(), []
        for place, request in enumerate(requests):
            with faults.of_text(place):
                submissions.append(
                    self._preflight.submission(
                        request, fresh=terms.fresh, webhook=webhook, traceparent=terms.traceparent
                    )
                )
        faults.raise_any()
        return self._jobs.submit(
            caller.name, submissions, limits=limits(caller), idempotency=terms.idempotency, group=True
        )


def limits(caller: Caller) -> Limits:
    """What a caller's key allows; a key's rate is by the minute, and a minute's worth may be asked for at once."""
    rate = None if caller.rate is None else caller.rate / SECONDS_PER_MINUTE
    return Limits(concurrency=caller.concurrency, rate=rate, burst=SECONDS_PER_MINUTE)
