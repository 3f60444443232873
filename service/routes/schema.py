"""The API's description, where handlers read and answer by hand and FastAPI cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from lig_core.contract import TEXT_OR_TOKENS
from service.http.problems import Problem
from service.jobs.resource import JobPage, JobResource
from service.routes.batch import BatchResource
from service.routes.models import ModelList
from service.submit.body import BatchRequest, SubmitExperiment, SubmitRequest

REFERENCE = "#/components/schemas/{model}"

WHERE_JOBS_ARE_TOLD = {
    ("/v1/explain", "post", "200"): "/id",
    ("/v1/explain", "post", "202"): "/id",
    ("/v1/explain/batch", "post", "202"): "/jobs/0/id",
    ("/v1/experiments", "post", "200"): "/id",
    ("/v1/experiments", "post", "202"): "/id",
    ("/v1/jobs", "get", "200"): "/jobs/0/id",
}
"""Answers with the id of a job, and the JSON pointer to it: what can be done with the job is linked there."""


def install(app: FastAPI) -> None:
    """Make the application describe the request and the problems."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    # FastAPI's documented way of extending the description.
    app.openapi = describe  # type: ignore[method-assign]


def _describe(app: FastAPI) -> dict[str, Any]:
    description = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        license_info=app.license_info,
        tags=app.openapi_tags,
        routes=app.routes,
    )
    schemas = description["components"]["schemas"]
    for model in (SubmitRequest, BatchRequest, SubmitExperiment, Problem):
        schema = model.model_json_schema(ref_template=REFERENCE)
        schemas.update(schema.pop("$defs", {}))
        schemas[schema["title"]] = schema
    for answer in (JobResource, JobPage, BatchResource, ModelList):
        # FastAPI leaves out whatever is null in an example.
        schemas[answer.__name__]["example"] = answer.model_json_schema()["example"]
    # Known as a mapping to its reader, which checks the options with each text.
    schemas["BatchOptions"] = _without_text(schemas["ExplainRequest"])
    schemas["BatchRequest"]["properties"]["options"] = {"$ref": REFERENCE.format(model="BatchOptions")}
    _say_items(schemas)
    _drop_foreign_errors(description)
    _document_keys(description)
    _link_jobs(description["paths"])
    return description


def _without_text(request: dict[str, Any]) -> dict[str, Any]:
    """The request's schema, as the options that all texts of a batch share."""
    apart = {"text", "tokens", "webhook"}
    return {
        **{name: value for name, value in request.items() if name not in TEXT_OR_TOKENS},
        "title": "BatchOptions",
        "description": "Everything of an ExplainRequest but its text (or tokens) and its webhook.",
        "properties": {name: field for name, field in request["properties"].items() if name not in apart},
        "required": [name for name in request.get("required", ()) if name not in apart],
    }


def _link_jobs(paths: dict[str, Any]) -> None:
    """From each answer that tells a job to every operation that takes one."""
    takers = [
        operation["operationId"]
        for path in paths.values()
        for operation in path.values()
        for parameter in operation.get("parameters", ())
        if parameter["name"] == "job_id"
    ]
    for (path, method, status), pointer in WHERE_JOBS_ARE_TOLD.items():
        answer = paths.get(path, {}).get(method, {}).get("responses", {}).get(status)
        if answer is not None:
            answer["links"] = {
                taker: {"operationId": taker, "parameters": {"job_id": f"$response.body#{pointer}"}} for taker in takers
            }


def _say_items(schema: Any) -> None:
    """Of pairs: what an item is, which generators and linters look for beside `prefixItems`."""
    parts = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for part in parts:
        _say_items(part)
    if isinstance(schema, dict) and isinstance(schema.get("prefixItems"), list):
        schema.setdefault("items", schema["prefixItems"][0])  # both of a pair are alike


def _drop_foreign_errors(description: dict[str, Any]) -> None:
    # FastAPI documents its own shape of 422, which this service never sends.
    for name in ("HTTPValidationError", "ValidationError"):
        description["components"]["schemas"].pop(name, None)
    operations = [operation for path in description["paths"].values() for operation in path.values()]
    for operation in operations:
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]


def _document_keys(description: dict[str, Any]) -> None:
    """A route that takes a key needs none where the service runs without keys; the others never do."""
    for path in description["paths"].values():
        for operation in path.values():
            if "security" in operation:
                operation["security"].append({})
            else:
                operation["security"] = []
