"""The webhooks that are due, as the service claims them."""

from __future__ import annotations

from lig_core.serving.queue.counters import Outcome
from lig_core.serving.queue.webhooks import Claim, DueWebhooks
from service.jobs.redis import reachable


class ReachableWebhooks(DueWebhooks):
    """Raises StoreUnavailable, as the store does."""

    def claim(self, limit: int, lease: float) -> list[Claim]:
        """Those that are due."""
        with reachable():
            return super().claim(limit, lease)

    def settle(self, claim: Claim, outcome: Outcome, again: float | None = None) -> bool:
        """Done with it, or due again."""
        with reachable():
            return super().settle(claim, outcome, again)
