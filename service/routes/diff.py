"""GET /diff: two results, side by side."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from lig_core.result.diff import DiffResult, write_diff
from lig_core.result.select import Selection, select
from service.http.problems import responses
from service.http.streaming import StreamedResponse, in_pieces
from service.jobs.job import JobStore
from service.jobs.stored_result import stored_result
from service.keys.guard import Owner
from service.openapi.words import DIFF_CONTENT, FirstJob, Layers, Maps, SecondJob, Top
from service.routes.results import Part


def router(jobs: JobStore) -> APIRouter:
    """The route of comparisons."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/diff",
        summary="How two results differ",
        responses={
            200: {
                "model": DiffResult,
                "description": "b less a, map by map, of what both hold.",
                "content": DIFF_CONTENT,
            },
            **responses(
                "job_not_found",
                "job_not_finished",
                "job_has_no_result",
                "not_comparable",
                "job_expired",
                "result_expired",
                "invalid_request",
                "store_unavailable",
            ),
        },
    )
    async def compare(
        owner: Owner, a: FirstJob, b: SecondJob, layers: Layers = "", maps: Maps = "", top_k: Top = 10
    ) -> Response:
        """Of each map that both hold: the difference, its L2 norm, the correlation, and what changed most."""
        selection = Part(layers=layers, maps=maps).selection()
        parts = await run_in_threadpool(_open, owner, a, b, selection, top_k)
        return StreamedResponse(in_pieces(parts), media_type="application/json")

    def _open(owner: str, a: str, b: str, selection: Selection, top: int) -> Iterator[bytes]:
        one, other = (select(stored_result(jobs, jobs.get(owner, job_id)), selection) for job_id in (a, b))
        return write_diff(one, other, top=top)

    return routes
