"""Whether the process lives, and whether it could run a job now."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from lig_core.queue.durability import Promise
from service.jobs import JobStore
from service.problems import NotReady, responses


class Alive(BaseModel):
    """The process answers."""

    alive: bool = True


class Ready(BaseModel):
    """A job sent now would be run."""

    ready: bool = True
    workers: int
    redis: str = Field(description="The server and its version.")
    promise: Promise = Field(description="What an accepted job survives; `promise_meaning` says it in words.")
    promise_meaning: str


def router(jobs: JobStore) -> APIRouter:
    """The routes for load balancers and supervisors; unversioned by custom."""
    routes = APIRouter(tags=["health"])

    @routes.get("/livez", summary="Is the process alive")
    async def livez() -> Alive:
        """Answers while the process does; looks at nothing else."""
        return Alive()

    @routes.get(
        "/readyz",
        summary="Can it run a job now",
        responses=responses("not_ready", "evicting_redis", "store_unavailable"),
    )
    def readyz() -> Ready:
        """Redis answers and will not drop jobs, and at least one worker is alive."""
        workers = jobs.load().workers
        if workers == 0:
            raise NotReady("no worker is alive; start one with: lig worker")
        found = jobs.durability()
        return Ready(workers=workers, redis=found.server, promise=found.promise, promise_meaning=found.meaning)

    return routes
