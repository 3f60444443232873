"""Prometheus metrics of this process's HTTP traffic; further collectors can be added to the same page."""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPMethod
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.middleware import OTHER_ROUTE, Answered, route_of

METHODS = frozenset(HTTPMethod)
OTHER_METHOD = "OTHER"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Histogram bounds: from a read of Redis to the longest long-poll."""


class HttpMetrics:
    """Requests by method, route template and status; no id and no key is ever a label."""

    def __init__(self, collectors: Iterable[Collector] = ()) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lig_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "lig_http_request_duration_seconds",
            "From the request's head to the last byte of the answer.",
            ["method", "route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "lig_http_requests_in_flight", "Requests being answered, event streams included.", registry=self.registry
        )
        for collector in collectors:
            self.registry.register(collector)

    def expect(self, routes: APIRouter, more: Iterable[int | str] = ()) -> None:
        """Show every series of these routes from the start, at 0, by the statuses that they document, and `more`."""
        for route in routes.routes:
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    self.seconds.labels(method, route.path_format)
                    for status in {route.status_code or 200, *route.responses, *more}:
                        self.requests.labels(method, route.path_format, str(status))

    def page(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        return generate_latest(self.registry)


class Measured:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self.app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, then count."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        metrics, begun, answered = self._metrics, time.perf_counter(), Answered(send)
        with metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, answered)
            finally:
                method = scope["method"] if scope["method"] in METHODS else OTHER_METHOD
                route = route_of(scope) or OTHER_ROUTE
                metrics.requests.labels(method, route, str(answered.status)).inc()
                metrics.seconds.labels(method, route).observe(time.perf_counter() - begun)


def router(metrics: HttpMetrics) -> APIRouter:
    """The route that Prometheus reads."""
    routes = APIRouter(tags=["health"])
    text: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text format."}
    }

    @routes.get("/metrics", summary="Prometheus metrics", response_class=Response, responses=text)
    def metrics_page() -> Response:
        """Metrics of the service, which begin with `lig_`, and of the process, with `process_`."""
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    return routes
