"""GET /jobs/{id}/result: all of it or a slice, in the format that the caller accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from lig_core.result.select import Selection, select
from lig_core.result.viewer.page import page_policy
from lig_core.result_schema import ExperimentResult, ExplainResult
from service.http.negotiation import HTML, Form, has_it, negotiate
from service.http.pages import page_headers
from service.http.problems import responses
from service.http.streaming import StreamedResponse, in_pieces
from service.jobs.job import Job, JobStore
from service.jobs.resource import server_timing
from service.jobs.stored_result import explained_result, stored_result
from service.keys.guard import Owner
from service.openapi.words import ETAG, RESULT_CONTENT, RESULT_HEADERS, Heads, JobId, Layers, Maps, Targets, TopK
from service.submit.intake import code_version

DOWNLOADS = {".npz", ".safetensors"}


@dataclass
class Part:
    """The query that says what is wanted of a result; empty is all."""

    layers: Layers = ""
    targets: Targets = ""
    heads: Heads = ""
    maps: Maps = ""
    top_k: TopK = ""

    def selection(self) -> Selection:
        """As the core takes it; raises InvalidRequest."""
        return Selection.parse(**{name: value for name, value in vars(self).items() if value})


def router(jobs: JobStore) -> APIRouter:
    """The route of results."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs/{job_id}/result",
        summary="The result of a job",
        responses={
            200: {
                "model": ExplainResult | ExperimentResult,
                "description": "The result, sent layer by layer. NDJSON has a line for each layer; npz and safetensors "
                "the tensors `layers.<layer>.<map>`; HTML is a page to look at, which loads nothing.",
                "content": RESULT_CONTENT,
                "headers": RESULT_HEADERS,
            },
            304: {"description": "It is what `If-None-Match` names.", "headers": ETAG},
            **responses(
                "job_not_found",
                "not_acceptable",
                "job_not_finished",
                "job_has_no_result",
                "job_has_no_maps",
                "job_expired",
                "result_expired",
                "invalid_request",
                "store_unavailable",
            ),
        },
    )
    async def read_result(request: Request, owner: Owner, job_id: JobId, part: Annotated[Part, Depends()]) -> Response:
        """All of it, or the layers, targets, heads and maps that are asked for; of a running job, layers that are done,
        where `layers` names them. If a part of it is lost while it is
        sent, the connection is cut."""
        form, selection = negotiate(request.headers), part.selection()
        job = await run_in_threadpool(jobs.get, owner, job_id)
        headers = {
            "ETag": form.etag(job.computation, job.work_digest, selection, code_version()),
            "Vary": "Accept, Accept-Encoding",
            "Cache-Control": "private, no-cache",
            **server_timing(job),
        }
        if job.result_size is not None and has_it(request.headers, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        parts = await run_in_threadpool(_open, job, selection, form)
        return StreamedResponse(
            in_pieces(parts), media_type=form.format.media_type, headers={**headers, **_about(job, form)}
        )

    def _open(job: Job, selection: Selection, form: Form) -> Iterator[bytes]:
        about_maps = form.format is HTML or selection != Selection(layers=selection.layers)
        stored = (explained_result if about_maps else stored_result)(jobs, job, selection.layers)
        result = select(stored, selection)
        return form.write(result.head, result)

    return routes


def _about(job: Job, form: Form) -> dict[str, str]:
    headers = page_headers(page_policy()) if form.format is HTML else {"X-Content-Type-Options": "nosniff"}
    if form.coding != "identity":
        headers["Content-Encoding"] = form.coding
    if form.format.suffix in DOWNLOADS:
        headers["Content-Disposition"] = f'attachment; filename="lig-{job.id}{form.format.suffix}"'
    return headers
