"""Where the service under test keeps what, in Redis."""

from __future__ import annotations

from lig_core.serving.queue import names
from worker.settings import Settings

QUEUE: str = Settings.model_fields["queue"].default
ANYONE = "anonymous"
"""Whose jobs are where there are no keys."""


def of_queue(kind: str) -> str:
    """What there is one of."""
    return names.key(kind, QUEUE)


def of(kind: str, name: str) -> str:
    """What there are many of, by name; without one, what they all begin with."""
    return names.key(kind, QUEUE, name)
