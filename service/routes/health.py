"""Probes: does the process live, has it started, could it run a job now."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from lig_core.errors import LigError
from lig_core.serving.queue.durability import MEANING, Promise
from lig_core.serving.queue.job_errors import QueueFull
from service.http.errors import NotReady
from service.http.problems import responses
from service.jobs.job import JobStore
from service.lifecycle import Lifecycle

log = logging.getLogger(__name__)

READY = "ready"


class Alive(BaseModel):
    """The process answers."""

    model_config = ConfigDict(json_schema_extra={"example": {"alive": True}})

    alive: bool = True


class Started(BaseModel):
    """The process was ready at least once."""

    model_config = ConfigDict(json_schema_extra={"example": {"started": True}})

    started: bool = True


class Ready(BaseModel):
    """A job sent now would be run."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "ready": True,
                "workers": 1,
                "redis": "Redis 7.4.0",
                "promise": "last_second",
                "promise_meaning": MEANING["last_second"],
            }
        }
    )

    ready: bool = True
    workers: int
    redis: str = Field(description="The server and its version.")
    promise: Promise = Field(description="What an accepted job survives; `promise_meaning` says it in words.")
    promise_meaning: str


ANSWERED = responses("wrong_host")
PROBLEMS = responses(
    "wrong_host", "not_ready", "draining", "queue_full", "evicting_redis", "unfit_redis", "store_unavailable"
)


def router(jobs: JobStore, lifecycle: Lifecycle, checks: Sequence[Callable[[], None]] = ()) -> APIRouter:
    """The routes for load balancers and supervisors; unversioned by custom.

    checks: further conditions of readiness, each raises a LigError where it does not hold.
    """
    routes = APIRouter(tags=["health"])
    last = ""  # READY, or why not

    def ready() -> Ready:
        nonlocal last
        lifecycle.refuse_while_leaving()
        store = jobs.durability()  # first: where the store takes no writes, workers cannot say that they live
        load = jobs.load()
        if load.workers == 0:
            raise NotReady("no worker is alive; start one with: lig worker")
        if load.backlog > load.limit:
            raise QueueFull("more work waits than is taken on", retry_after=(load.backlog - load.limit) / load.workers)
        for check in checks:
            check()
        lifecycle.started = True
        if last != READY:
            log.info("ready: %s", store.meaning)
        last = READY
        return Ready(workers=load.workers, redis=store.server, promise=store.promise, promise_meaning=store.meaning)

    @routes.get("/livez", summary="Is the process alive", responses=ANSWERED)
    async def livez() -> Alive:
        """Answers while the process does; looks at nothing else."""
        return Alive()

    @routes.get("/readyz", summary="Can it run a job now", responses=PROBLEMS)
    def readyz() -> Ready:
        """Redis takes writes and will not drop jobs, a worker is alive, and the process is not about to stop."""
        nonlocal last
        try:
            return ready()
        except LigError as error:
            if last != error.detail:
                log.warning("not ready: %s", error.detail)
            last = error.detail
            raise

    @routes.get("/startupz", summary="Has it been ready yet", responses=PROBLEMS)
    def startupz() -> Started:
        """503 until it was ready for the first time, 200 from then on, whatever becomes of it."""
        if not lifecycle.started:
            ready()
        return Started()

    return routes
