"""GET /jobs/{id}/result: all of it or a slice, in the format that the caller accepts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from lig_core.contract import ALL_MAPS, ExplainResult
from lig_core.result.page import page_policy
from lig_core.result.select import Selection, select
from service.http.negotiation import HTML, Form, has_it, negotiate
from service.http.pages import page_headers
from service.http.problems import responses
from service.http.streaming import StreamedResponse, in_pieces
from service.jobs.job import Job, JobStore
from service.jobs.resource import server_timing
from service.jobs.stored_result import stored_result
from service.keys.guard import Owner
from service.routes.jobs import SERVER_TIMING, JobId
from service.submit.digest import code_version

INDICES = {"pattern": "^([0-9]{1,9}(,[0-9]{1,9})*)?$"}
MAPS = {"pattern": f"^(({'|'.join(ALL_MAPS)})(,({'|'.join(ALL_MAPS)}))*)?$"}
Layers = Annotated[str, Query(description="Layers, separated by commas.", examples=["0,5"], json_schema_extra=INDICES)]
Maps = Annotated[
    str,
    Query(
        description=f"Maps, separated by commas: {', '.join(ALL_MAPS)}.",
        examples=["layer,composed"],
        json_schema_extra=MAPS,
    ),
]
Targets = Annotated[
    str, Query(description="Target tokens, separated by commas.", examples=["1,2"], json_schema_extra=INDICES)
]
Heads = Annotated[str, Query(description="Attention heads of `att`.", examples=["0,11"], json_schema_extra=INDICES)]
TopK = Annotated[
    str,
    Query(
        description="Of each column only so many contributions, those of largest absolute value.",
        examples=["5"],
        json_schema_extra={"pattern": "^([1-9][0-9]{0,8})?$"},
    ),
]
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
        return Selection.parse(**{name: asked for name, asked in vars(self).items() if asked})


HEADERS = {
    "ETag": {"schema": {"type": "string"}, "description": "Names these bytes: send it as `If-None-Match`."},
    "Vary": {"schema": {"type": "string"}, "description": "Accept, Accept-Encoding"},
    "Content-Encoding": {"schema": {"type": "string"}, "description": "zstd or gzip, where that was accepted."},
    "Content-Disposition": {
        "schema": {"type": "string"},
        "description": "A name for the file, of npz and safetensors.",
    },
    "Server-Timing": SERVER_TIMING,
}
CERTIFICATE = {
    "total": [0.4, 0.6],
    "completeness_error": [1e-5, 2e-5],
    "nodes": [31, 15],
    "converged": [True, True],
    "status": ["ok", "ok"],
    "all_converged": True,
    "rtol": 1e-3,
    "quadrature": "adaptive_gauss_patterson",
    "engine": "factored/closed",
}
EXAMPLE = {
    "text": "cat mats",
    "tokens": ["cat", "mats"],
    "token_labels": ["cat", "mats"],
    "offsets": [[0, 3], [4, 8]],
    "words": [0, 1],
    "model": "minilm",
    "model_type": "bert",
    "config": {"granularity": ["layer"], "baseline_layer": "zero", "rtol": 1e-3, "dtype": "float32"},
    "boundaries": {},
    "receipt": {"revision": None},
    "layers": {
        "0": {
            "layer_idx": 0,
            "z2z": {
                "baseline": "zero",
                "description": "from the block input to the block output, matrix[source][target]",
                "shape": [2, 2],
                "matrix": [[0.3, 0.2], [0.1, 0.4]],
                "certificate": CERTIFICATE,
            },
        }
    },
    "converged": True,
    "columns": {"ok": 2},
    "unconverged": [],
}
CONTENT: dict[str, Any] = {
    "application/json": {"example": EXAMPLE},
    "application/x-ndjson": {
        "schema": {"type": "string"},
        "example": '{"head":{…}}\n{"layer":0,"maps":{…}}\n{"layer":1,"maps":{…}}\n'
        '{"converged":true,"columns":{"ok":4},"unconverged":[]}\n',
    },
    "application/x-npz": {"schema": {"type": "string", "format": "binary"}},
    "application/vnd.safetensors": {"schema": {"type": "string", "format": "binary"}},
    "text/html": {"schema": {"type": "string"}},
}


def router(jobs: JobStore) -> APIRouter:
    """The route of results."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs/{job_id}/result",
        summary="The result of a job",
        responses={
            200: {
                "model": ExplainResult,
                "description": "The result, sent layer by layer. NDJSON has a line for each layer; npz and safetensors "
                "the tensors `layers.<layer>.<map>`; HTML is a page to look at, which loads nothing.",
                "content": CONTENT,
                "headers": HEADERS,
            },
            304: {"description": "It is what `If-None-Match` names.", "headers": {"ETag": HEADERS["ETag"]}},
            **responses(
                "job_not_found",
                "not_acceptable",
                "job_not_finished",
                "job_has_no_result",
                "job_expired",
                "result_expired",
                "invalid_request",
                "store_unavailable",
            ),
        },
    )
    async def read_result(request: Request, owner: Owner, job_id: JobId, part: Annotated[Part, Depends()]) -> Response:
        """All of it, or the layers, targets, heads and maps that are asked for. If a part of it is lost while it is
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
        result = select(stored_result(jobs, job), selection)
        return form.write(result.head, result)

    return routes


def _about(job: Job, form: Form) -> dict[str, str]:
    headers = page_headers(page_policy()) if form.format is HTML else {"X-Content-Type-Options": "nosniff"}
    if form.coding != "identity":
        headers["Content-Encoding"] = form.coding
    if form.format.suffix in DOWNLOADS:
        headers["Content-Disposition"] = f'attachment; filename="lig-{job.id}{form.format.suffix}"'
    return headers
