"""The pages for people: the viewer at `/` and the API's description at `/docs`. They load nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from lig_core.result.viewer.page import LIVE, empty_page, page_policy, script_source

SAFE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def page_headers(policy: str) -> dict[str, str]:
    """Headers that put a page under a Content-Security-Policy, not to be framed by others."""
    return {**SAFE_HEADERS, "Content-Security-Policy": f"{policy}; frame-ancestors 'none'"}


def html_response(page: str, policy: str) -> HTMLResponse:
    """A page with these headers."""
    return HTMLResponse(page, headers={**page_headers(policy), "Cache-Control": "no-cache"})


def install(app: FastAPI) -> None:
    """Add the pages and what they need."""

    @app.get("/", include_in_schema=False)
    async def viewer() -> HTMLResponse:
        return html_response(empty_page(), page_policy(LIVE))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        own = script_source(_page("docs.html"))
        return html_response(
            _page("docs.html"),
            f"default-src 'none'; script-src 'self' {own}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'",
        )

    app.mount("/docs/assets", StaticFiles(directory=_swagger_ui()), name="docs-assets")


@cache
def _page(name: str) -> str:
    return (files("service.http") / name).read_text(encoding="utf-8")


def _swagger_ui() -> Path:
    """The folder in which the package fastapi-offline carries Swagger UI."""
    package = find_spec("fastapi_offline")
    assert package is not None and package.origin is not None, "a dependency of the API"
    return Path(package.origin).parent / "static"
