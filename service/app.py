"""Puts the application together. Nothing else wires."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from prometheus_client.registry import Collector
from starlette.middleware import Middleware

from service.events.hub import Hub
from service.http import pages, problems
from service.http.middleware import AccessLog, BodyLimit, HeadAsGet, RequestId
from service.http.origins import cors, hosts
from service.http.prefix import RootPath
from service.jobs.job import JobStore
from service.keys import guard
from service.keys.source import key_source
from service.lifecycle import Lifecycle
from service.metrics import this_process, traffic
from service.openapi.words import DESCRIPTION, LICENCE, TAGS
from service.routes import batch, diff, estimate, events, explain, flow, health, models, results, schema
from service.routes import jobs as job_routes
from service.settings import Settings
from service.submit.checks import RequestChecks
from service.submit.intake import Intake
from service.submit.known_models import KnownModels
from service.submit.pace import Pace
from service.submit.tokens import TokenCounter
from service.webhooks.deliveries import Deliveries
from service.webhooks.policy import WebhookPolicy

API_VERSION = "1.0"


def create_app(
    settings: Settings,
    jobs: JobStore,
    *,
    lifecycle: Lifecycle | None = None,
    checks: Sequence[Callable[[], None]] = (),
    collectors: Iterable[Collector] = (),
    answers_to: Sequence[str] | None = None,
) -> FastAPI:
    """The API over a job store. Raises KeysError.

    lifecycle: shared with the server, which knows when it is told to stop.
    checks: further conditions of readiness; collectors: further metrics.
    answers_to: the hosts that requests may be addressed to, None: any. The server knows: `Settings.hosts`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with jobs.running(), hub.running(), deliveries.running():
            yield

    stages, keys = lifecycle or Lifecycle(), key_source(settings)
    measured = traffic.HttpMetrics([*this_process.collectors(), *collectors])
    app = FastAPI(
        title="LIG service",
        summary="Layer-wise Integrated Gradients: which tokens feed which inside a transformer layer.",
        description=DESCRIPTION,
        license_info=LICENCE,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        version=API_VERSION,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
        docs_url=None,  # pages.py has one that loads nothing from elsewhere
        redoc_url=None,
        middleware=[
            Middleware(RootPath, root_path=settings.root_path, proxies=settings.trusted_proxies),
            Middleware(RequestId),
            Middleware(AccessLog),
            Middleware(traffic.Measured, metrics=measured),
            *hosts(answers_to),
            *cors(settings.cors_origins),
            Middleware(BodyLimit, limit=settings.max_body_bytes),
            Middleware(HeadAsGet),
        ],
    )
    problems.install(app)
    pace, policy = Pace(jobs), WebhookPolicy(settings)
    known = KnownModels(settings, jobs.models)
    request_checks = RequestChecks(
        settings, TokenCounter(), models=known, rate=pace.rate, queue_seconds=pace.queue_seconds
    )
    intake = Intake(jobs, request_checks, policy, stages, settings.max_batch)
    hub = Hub(jobs, stages, settings.max_events, settings.event_cache_bytes)
    deliveries = Deliveries(jobs, policy, settings.webhook_retries, settings.root_path)
    health_routes, metrics_routes = health.router(jobs, stages, checks), traffic.router(measured)
    app.include_router(health_routes)
    measured.expect(health_routes)
    app.include_router(metrics_routes, dependencies=[Depends(guard.guard(keys, "metrics"))], responses=guard.REFUSALS)
    measured.expect(metrics_routes, guard.REFUSALS)
    check = guard.guard(keys)
    guarded: dict[str, Any] = {"dependencies": [Depends(check)], "responses": guard.REFUSALS}
    for routes in (
        explain.router(settings, jobs, intake, pace, stages, check),
        batch.router(intake, pace),
        estimate.router(request_checks),
        job_routes.router(settings, jobs, stages),
        results.router(jobs),
        events.router(settings, jobs, hub),
        diff.router(jobs),
        flow.router(jobs),
        models.router(settings, known),
    ):
        app.include_router(routes, prefix="/v1", **guarded)
        # The same without the version, for scripts; the document shows each route once.
        app.include_router(routes, include_in_schema=False, **guarded)
        measured.expect(routes, guard.REFUSALS)
    pages.install(app)
    schema.install(app)
    return app
