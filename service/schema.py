"""The API's description, where handlers read and answer by hand and FastAPI cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lig_core.contract import ExplainRequest
from service.problems import Problem

REFERENCE = "#/components/schemas/{model}"


def install(app: FastAPI) -> None:
    """Make the application describe the request and the problems."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    # FastAPI's documented way of extending the description.
    app.openapi = describe  # type: ignore[method-assign]


def _describe(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas = description["components"]["schemas"]
    for model in (ExplainRequest, Problem):
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas.update(schema.pop("$defs", {}))
        schemas[model.__name__] = schema
    _drop_foreign_errors(description)
    _document_keys(description)
    return description


def _drop_foreign_errors(description: dict[str, Any]) -> None:
    # FastAPI documents its own shape of 422, which this service never sends.
    for name in ("HTTPValidationError", "ValidationError"):
        description["components"]["schemas"].pop(name, None)
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    for operation in operations:
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]


def _document_keys(description: dict[str, Any]) -> None:
    """A route that takes a key needs none where the service runs without keys."""
    for path in description["paths"].values():
        for operation in path.values():
            if "security" in operation:
                operation["security"].append({})
