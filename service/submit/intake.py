"""The gate that all work goes through, one text or many: checked, costed, and accepted whole or not at all."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import orjson

from lig_core.contract import ExplainRequest, JobRequest
from lig_core.models.references import ModelReference
from service.jobs.job import Accepted, JobStore, Limits, Submission
from service.keys.keyring import Caller
from service.lifecycle import Lifecycle
from service.submit.body import BatchFaults, parse_batch, parse_posted_experiment, parse_submission
from service.submit.checks import RequestChecks
from service.submit.cost import DEFAULT_RATE, seconds_of
from service.submit.headers import SubmitHeaders
from service.submit.known_models import KnownModel
from service.webhooks.policy import WebhookPolicy

SECONDS_PER_MINUTE = 60.0


class Intake:
    """Accepts what was posted. Its methods block, and raise every LigError that a submission can meet."""

    def __init__(
        self, jobs: JobStore, checks: RequestChecks, webhooks: WebhookPolicy, lifecycle: Lifecycle, max_batch: int
    ) -> None:
        self._jobs, self._checks, self._webhooks = jobs, checks, webhooks
        self._lifecycle, self._max_batch = lifecycle, max_batch

    def accept(self, caller: Caller, body: Any, headers: SubmitHeaders) -> Accepted:
        """Accept one text, as one job."""
        self._lifecycle.refuse_while_draining()
        posted = parse_submission(body)
        if posted.webhook is not None:
            self._webhooks.require(posted.webhook)
        submission = self._submission(posted.explain_request(), headers, posted.webhook)
        return self._jobs.submit(caller.name, [submission], limits=limits(caller), idempotency=headers.idempotency)

    def accept_batch(self, caller: Caller, body: Any, headers: SubmitHeaders) -> Accepted:
        """Accept many texts, as one group."""
        self._lifecycle.refuse_while_draining()
        requests, webhook = parse_batch(body, self._max_batch)
        if webhook is not None:
            self._webhooks.require(webhook)
        faults, submissions = BatchFaults(), []
        for place, request in enumerate(requests):
            with faults.of_text(place):
                submissions.append(self._submission(request, headers, webhook, waits_for_others=True))
        faults.raise_any()
        return self._jobs.submit(
            caller.name, submissions, limits=limits(caller), idempotency=headers.idempotency, group=True
        )

    def accept_experiment(self, caller: Caller, body: Any, headers: SubmitHeaders) -> Accepted:
        """Accept a pack of sentences, as one job."""
        self._lifecycle.refuse_while_draining()
        posted = parse_posted_experiment(body)
        if posted.webhook is not None:
            self._webhooks.require(posted.webhook)
        request, model, seconds, rate = self._checks.examine_experiment(posted.experiment_request())
        submission = _submission(request, model, seconds, rate, headers, posted.webhook)
        return self._jobs.submit(caller.name, [submission], limits=limits(caller), idempotency=headers.idempotency)

    def _submission(
        self, request: ExplainRequest, headers: SubmitHeaders, webhook: str | None, *, waits_for_others: bool = False
    ) -> Submission:
        request, model, tokens, cost = self._checks.examine(request)
        submission = _submission(request, model, seconds_of(request, tokens, cost), cost.rate, headers, webhook)
        if not waits_for_others and request.priority != "bulk":
            return submission
        return replace(submission, shares=sequence_digest(request, model), tokens=tokens.number)


def _submission(
    request: JobRequest, model: KnownModel, seconds: float, rate: float, headers: SubmitHeaders, webhook: str | None
) -> Submission:
    return Submission(
        request,
        work_digest(request, model.reference),
        cost=seconds,
        reference=model.reference,
        identity=model.identity,
        work=seconds * rate / DEFAULT_RATE,
        fresh=headers.fresh,
        webhook=webhook,
        traceparent=headers.traceparent,
    )


def work_digest(request: JobRequest, model: ModelReference) -> str:
    """Equal for requests that have equal results of the same files by this version's code, as hexadecimal SHA-256.

    That the model's content is the same as well is seen to where requests join a computation
    (`lig_core.serving.queue`): it may become known only once a worker has read it.
    """
    described = {"request": request.canonical(), "model": model.as_dict(), "code": code_version()}
    return hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()


def sequence_digest(request: ExplainRequest, model: KnownModel) -> str:
    """Equal for requests whose texts may share a sequence of the model, as hexadecimal SHA-256."""
    described = [request.shared, model.reference.as_dict(), model.identity]
    return hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()


@cache
def code_version() -> str:
    """The version of the code that is running."""
    return version("lig-service")


def limits(caller: Caller) -> Limits:
    """The limits of a caller's key; a key's rate is by the minute, and a minute's worth may be asked for at once."""
    rate = None if caller.rate is None else caller.rate / SECONDS_PER_MINUTE
    return Limits(concurrency=caller.concurrency, rate=rate, burst=SECONDS_PER_MINUTE)
