"""GET /jobs/{id}/flow: the maps of a result, chained across its layers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import Response

from lig_core.errors import FieldError, InvalidRequest
from lig_core.flow.account import FlowAccount, FlowGraph, account
from lig_core.flow.graph import count_edges, graph, graphml, node_link
from lig_core.flow.shares import Flow
from lig_core.result.plain.text import to_json
from lig_core.result.select import Selection, select
from service.http.negotiation import media_type
from service.http.problems import responses
from service.http.streaming import StreamedResponse, in_pieces
from service.jobs.job import JobStore
from service.jobs.stored_result import explained_result
from service.keys.guard import Owner
from service.openapi.words import (
    FLOW_CONTENT,
    GRAPHML,
    AsGraph,
    FlowSource,
    FlowTarget,
    JobId,
    Layers,
    LeastShare,
    MapToChain,
    NormalisedBy,
    SelfShare,
    TopPaths,
)

MOST_CANDIDATES = 2**24
"""Paths that are compared at a time, tokens² · top: 16 bytes each."""
MOST_EDGES = 200_000
"""Of a graph: a kilobyte each, or two."""


@dataclass
class Wanted:
    """The query that says what is chained, and what is asked of it."""

    map: MapToChain = "layer"
    source: FlowSource = None
    target: FlowTarget = None
    top: TopPaths = 10
    layers: Layers = ""
    normalised_by: NormalisedBy = "total"
    self_term: SelfShare = "map"
    as_graph: AsGraph = False
    least: LeastShare = 0.0


def router(jobs: JobStore) -> APIRouter:
    """The route of flow."""
    routes = APIRouter(tags=["jobs"])

    @routes.get(
        "/jobs/{job_id}/flow",
        summary="Flow across the layers of a result",
        responses={
            200: {
                "model": FlowAccount | FlowGraph,
                "description": "Shares of one map, chained: rollout, strongest paths, how wide columns are. With "
                "`graph`, or as GraphML, the shares themselves: a node for each token at each level, an edge for each "
                "share. A step is certified where its column has converged; a path, a product of several, never is.",
                "content": FLOW_CONTENT,
            },
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
    async def flow(request: Request, owner: Owner, job_id: JobId, wanted: Annotated[Wanted, Depends()]) -> Response:
        """What `lig flow` writes of a result. What cannot be chained is refused with what to ask for: a map that the
        result lacks, some of its targets only, layers that do not follow on one another."""
        chosen = media_type(request.headers, FLOW_CONTENT)
        selection = Selection.parse(**({"layers": wanted.layers} if wanted.layers else {}))

        def opened() -> Iterator[bytes]:
            result = select(explained_result(jobs, jobs.get(owner, job_id)), selection)
            _refuse_too_many_paths(len(result.head["tokens"]), wanted)
            chained = Flow.of(result, wanted.map, normalised_by=wanted.normalised_by, self_term=wanted.self_term)
            if chosen != GRAPHML and not wanted.as_graph:
                found = account(result, chained, source=wanted.source, target=wanted.target, top=wanted.top)
                return iter([to_json(found)])
            _refuse_too_many_edges(chained, wanted.least)
            made = graph(chained, least=wanted.least)
            return graphml(made) if chosen == GRAPHML else iter([to_json(node_link(made))])

        parts = await run_in_threadpool(opened)
        return StreamedResponse(in_pieces(parts), media_type=chosen, headers={"Vary": "Accept"})

    return routes


def _refuse_too_many_paths(tokens: int, wanted: Wanted) -> None:
    most = max(1, MOST_CANDIDATES // tokens**2)
    if wanted.top > most:
        detail = f"top is at most {most} for a text of {tokens} tokens; got {wanted.top}"
        raise InvalidRequest(detail, errors=[FieldError("/query/top", detail)])


def _refuse_too_many_edges(flow: Flow, least: float) -> None:
    edges = count_edges(flow, least=least)
    if edges > MOST_EDGES:
        detail = (
            f"the graph would have {edges} edges, and {MOST_EDGES} are sent; ask for a larger least, or fewer layers"
        )
        raise InvalidRequest(detail, errors=[FieldError("/query/least", detail)])
