"""Puts the application together. Nothing else wires."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware

from service import problems, schema
from service.hub import Hub
from service.jobs import JobStore
from service.lifecycle import Lifecycle
from service.middleware import BodyLimit, RequestId
from service.routes import diff, events, explain, health, models, results
from service.routes import jobs as job_routes
from service.settings import Settings

API_VERSION = "1.0"


def create_app(settings: Settings, jobs: JobStore, *, lifecycle: Lifecycle | None = None) -> FastAPI:
    """The API over a job store. The lifecycle is shared with the server, which knows when it is told to stop."""
    lifecycle = lifecycle or Lifecycle()
    hub = Hub(jobs, lifecycle, settings.max_events)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with jobs.running(), hub.running():
            yield

    app = FastAPI(
        title="LIG service",
        summary="Layer-wise Integrated Gradients: which tokens feed which inside a transformer layer.",
        version=API_VERSION,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        middleware=[Middleware(RequestId), Middleware(BodyLimit, limit=settings.max_body_bytes)],
    )
    problems.install(app)
    app.include_router(health.router(jobs))
    for routes in (
        explain.router(settings, jobs),
        job_routes.router(settings, jobs),
        results.router(jobs),
        events.router(settings, jobs, hub, lifecycle),
        diff.router(jobs),
        models.router(settings),
    ):
        app.include_router(routes, prefix="/v1")
        # The same without the version, for scripts; the document shows each route once.
        app.include_router(routes, include_in_schema=False)
    schema.install(app)
    return app
