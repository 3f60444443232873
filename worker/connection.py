"""Connections to Redis, for two kinds of patience."""

from __future__ import annotations

from redis import Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.retry import Retry

from lig_core.queue import address


def connect(url: str) -> Redis:
    """One that rides out two minutes without Redis: a finished explanation is worth waiting for."""
    return address.connect(
        url,
        socket_timeout=20,
        retry=Retry(ExponentialBackoff(cap=2, base=0.05), 60),
        health_check_interval=15,
    )


def connect_briefly(url: str) -> Redis:
    """One that gives up soon: for what is asked again in a moment anyway while a job runs."""
    return address.connect(url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 1))
