"""Which ended jobs have yet to be told to their webhooks; any number of processes may share the telling."""

from __future__ import annotations

from dataclasses import dataclass

from redis import Redis

from lig_core.serving.queue.counters import Outcome
from lig_core.serving.queue.scripts import Scripts


@dataclass(frozen=True)
class Claim:
    """A webhook that is due, held by one process until the lease ends; `attempt` counts from 1."""

    job: str
    lease_end: str  # as Redis wrote it: it is what tells this claim from a later one
    attempt: int


class DueWebhooks:
    """Claims and settles a queue's webhooks."""

    def __init__(self, redis: Redis, queue: str) -> None:
        self._scripts = Scripts(redis, queue)

    def claim(self, limit: int, lease: float) -> list[Claim]:
        """Those that are due, at most `limit`; whoever does not settle one within `lease` seconds loses it."""
        found = self._scripts.call("claim_webhooks", limit=limit, lease=lease)
        return [
            Claim(job.decode(errors="replace"), lease_end.decode(), int(attempt)) for job, lease_end, attempt in found
        ]

    def settle(self, claim: Claim, outcome: Outcome, again: float | None = None) -> bool:
        """Done with it, or due again in `again` seconds; False if the claim was lost meanwhile."""
        how = {"job": claim.job, "lease_end": claim.lease_end, "outcome": outcome, "again": again}
        return bool(self._scripts.call("settle_webhook", **how))
