"""GET /diff: two results, side by side."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from lig_core.result.diff import DiffResult, write_diff
from lig_core.result.select import select
from lig_core.result.viewer.page import page_policy, write_comparison
from service.http.negotiation import HTML, media_type
from service.http.pages import page_headers
from service.http.problems import responses
from service.http.streaming import StreamedResponse, in_pieces
from service.jobs.job import JobStore
from service.jobs.stored_result import explained_result
from service.keys.guard import Owner
from service.openapi.words import DIFF_CONTENT, Composition, FirstJob, Layers, Maps, SecondJob, Top, WithDifference
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
                "description": "b less a, map by map, of what both hold: a and b may differ in text, model or options. "
                "HTML is a page to look at, which loads nothing.",
                "content": DIFF_CONTENT,
            },
            **responses(
                "job_not_found",
                "not_acceptable",
                "job_not_finished",
                "job_has_no_result",
                "job_has_no_maps",
                "not_comparable",
                "job_expired",
                "result_expired",
                "invalid_request",
                "store_unavailable",
            ),
        },
    )
    async def compare(
        request: Request,
        owner: Owner,
        a: FirstJob,
        b: SecondJob,
        layers: Layers = "",
        maps: Maps = "",
        top_k: Top = 10,
        composed: Composition = "",
        difference: WithDifference = True,
    ) -> Response:
        """Of each map that both hold: the difference, its L2 norm, the correlation, and what changed most. Where the
        tokens differ, those that an edit script keeps are compared, and the others named."""
        chosen = media_type(request.headers, DIFF_CONTENT)
        selection = Part(layers=layers, maps=maps).selection()

        def opened() -> Iterator[bytes]:
            one, other = (select(explained_result(jobs, jobs.get(owner, job_id)), selection) for job_id in (a, b))
            if chosen == HTML.media_type:
                return write_comparison(one, other)
            return write_diff(one, other, top=top_k, composed=composed or None, difference=difference)

        headers = page_headers(page_policy()) if chosen == HTML.media_type else {}
        parts = await run_in_threadpool(opened)
        return StreamedResponse(in_pieces(parts), media_type=chosen, headers={"Vary": "Accept", **headers})

    return routes
