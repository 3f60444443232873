"""Parameters, bodies, and headers and contents of answers, as the description tells them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Header, Path, Query

from lig_core.contract import ALL_MAPS
from service.openapi.examples import EXAMPLES, JOB_ID, lines

DESCRIPTION = """Post a text and a model to `/v1/explain`, then wait for the job: its result has, for each layer,
how much each token contributes to each other, and a certificate of how closely those contributions sum to their known
total. A contribution is measured from a baseline, and means nothing without it."""
LICENCE = {"name": "MIT", "identifier": "MIT"}
TAGS = {
    "explain": "Submitting work, and what it would cost.",
    "jobs": "Jobs: waiting, following, results, comparisons, the end.",
    "models": "The models that can be named.",
    "health": "Probes and metrics.",
}

TEXT = {"type": "string"}
BINARY = {"type": "string", "format": "binary"}
INDICES = {"pattern": "^([0-9]{1,9}(,[0-9]{1,9})*)?$"}
EVENT_ID = {"pattern": "^([0-9]{1,18}-[0-9]{1,18})?$"}
MAPS = {"pattern": f"^(({'|'.join(ALL_MAPS)})(,({'|'.join(ALL_MAPS)}))*)?$"}
COUNT = {"pattern": "^([1-9][0-9]{0,8})?$"}


def _body(schema: str, **examples: Any) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, **examples}
    return {"required": True, "content": {"application/json": content}}


# Submitting
EXPLAIN_BODY = _body("ExplainRequest", examples=EXAMPLES["explain"])
EXPERIMENT_BODY = _body("ExperimentRequest", example=EXAMPLES["experiment"])
BATCH_BODY = _body("BatchRequest", example=EXAMPLES["batch"])
LOCATION = {"Location": {"schema": TEXT, "description": "The job."}}
JOBS_LOCATION = {"Location": {"schema": TEXT, "description": "The jobs of the group, as they stand."}}
REPLAYED = {
    "Idempotent-Replayed": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "Present where the Idempotency-Key had been answered before.",
    }
}
APPLIED = {
    "Preference-Applied": {
        "schema": TEXT,
        "example": "wait=10",
        "description": "The wait that was granted, where one was preferred.",
    }
}
RETRY_AFTER = {
    "Retry-After": {
        "schema": {"type": "integer", "minimum": 1},
        "description": "Seconds until it is likely to have ended, by the work ahead of it and the measured rate.",
    }
}

# Jobs
JobId = Annotated[str, Path(description="The `id` of a job.", examples=[JOB_ID])]
Wait = Annotated[float, Query(ge=0, description="Answer when the job ends, or after this many seconds (60 at most).")]
Embed = Annotated[bool, Query(description="Put a small result into the answer.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many jobs to list.")]
Cursor = Annotated[str, Query(description="`next` of the page before; absent or empty: from the newest job on.")]
Group = Annotated[str, Query(description="Only the jobs of this batch.")]
SERVER_TIMING = {
    "Server-Timing": {
        "schema": TEXT,
        "description": "Milliseconds of waiting, loading and computing, as far as they are known.",
        "example": "queue;dur=120.0, load;dur=0.0, compute;dur=843.5",
    }
}
JOB_HEADERS = {
    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds until it makes sense to look again."},
    **SERVER_TIMING,
}
NEXT_PAGE = {"Link": {"schema": TEXT, "description": 'The next page, as `rel="next"`; absent on the last one.'}}

# Results
Layers = Annotated[str, Query(description="Layers, separated by commas.", examples=["0,5"], json_schema_extra=INDICES)]
Targets = Annotated[
    str, Query(description="Target tokens, separated by commas.", examples=["1,2"], json_schema_extra=INDICES)
]
Heads = Annotated[str, Query(description="Attention heads of `att`.", examples=["0,11"], json_schema_extra=INDICES)]
Maps = Annotated[
    str,
    Query(
        description=f"Maps, separated by commas: {', '.join(ALL_MAPS)}.",
        examples=["layer,composed"],
        json_schema_extra=MAPS,
    ),
]
TopK = Annotated[
    str,
    Query(
        description="Of each column only so many contributions, those of largest absolute value.",
        examples=["5"],
        json_schema_extra=COUNT,
    ),
]
ETAG = {"ETag": {"schema": TEXT, "description": "Names these bytes: send it as `If-None-Match`."}}
RESULT_HEADERS = {
    **ETAG,
    "Vary": {"schema": TEXT, "description": "Accept, Accept-Encoding"},
    "Content-Encoding": {"schema": TEXT, "description": "zstd or gzip, where that was accepted."},
    "Content-Disposition": {"schema": TEXT, "description": "A name for the file, of npz and safetensors."},
    **SERVER_TIMING,
}
RESULT_CONTENT: dict[str, Any] = {
    "application/json": {"example": EXAMPLES["result"]},
    "application/x-ndjson": {"schema": TEXT, "example": lines("result_lines")},
    "application/x-npz": {"schema": BINARY},
    "application/vnd.safetensors": {"schema": BINARY},
    "text/html": {"schema": TEXT},
}

# Events
After = Annotated[
    str,
    Query(
        description="Only what came after the event with this id; `Last-Event-ID` goes before it.",
        examples=["1767268800000-0"],
        json_schema_extra=EVENT_ID,
    ),
]
LastEventId = Annotated[
    str,
    Header(
        alias="Last-Event-ID",
        description="The last event that was received: browsers send it when they connect again.",
        json_schema_extra=EVENT_ID,
    ),
]
WithMaps = Annotated[
    bool, Query(alias="layers", description="Put each layer's maps into its event; else it says only which layer.")
]
EVENT = {  # one of the stream, as OpenAPI 3.2 describes items
    "type": "object",
    "properties": {
        "id": TEXT,
        "event": {
            "type": "string",
            "enum": ["queued", "started", "progress", "head", "layer", "gap", "succeeded", "failed", "cancelled"],
        },
        "data": {"type": "string", "description": "JSON.", "contentMediaType": "application/json"},
        "retry": {"type": "integer"},
    },
}
EVENTS_CONTENT: dict[str, Any] = {"text/event-stream": {"schema": EVENT, "example": EXAMPLES["event"]}}

# Comparisons
FirstJob = Annotated[str, Query(description="The `id` of a job.", examples=[JOB_ID])]
SecondJob = Annotated[str, Query(description="The `id` of the job to compare with it.", examples=[JOB_ID[::-1]])]
Top = Annotated[int, Query(ge=0, le=10_000, description="How many of the largest changes of each map to list.")]
Composition = Annotated[
    Literal["", "product", "conserving"],
    Query(
        description="Set b's composition of this kind beside a's layer map: with `a` as `b`, direct against composed."
    ),
]
WithDifference = Annotated[bool, Query(description="Put the matrices of differences into the answer.")]
DIFF_CONTENT: dict[str, Any] = {"application/json": {"example": EXAMPLES["diff"]}, "text/html": {"schema": TEXT}}

# Flow
GRAPHML = "application/graphml+xml"
MapToChain = Annotated[Literal["layer", "product", "conserving"], Query(description="The map that is chained.")]
FlowSource = Annotated[int | None, Query(ge=0, description="The token that paths start at; absent: any.")]
FlowTarget = Annotated[int | None, Query(ge=0, description="The token that paths end at; absent: any.")]
TopPaths = Annotated[int, Query(ge=1, le=1000, description="How many paths to list, strongest first.")]
NormalisedBy = Annotated[
    Literal["total", "absolute"], Query(description="Shares of each column's total, or of absolute values.")
]
SelfShare = Annotated[
    Literal["map", "half"], Query(description="A token's own share: the map's, or half of every column.")
]
AsGraph = Annotated[bool, Query(alias="graph", description="The graph as networkx's node-link JSON.")]
LeastShare = Annotated[float, Query(ge=0, allow_inf_nan=False, description="Shares up to this size are no edges.")]
FLOW_CONTENT: dict[str, Any] = {"application/json": {"example": EXAMPLES["flow"]}, GRAPHML: {"schema": TEXT}}

# Models
Model = Annotated[str, Path(description="As in `model` of a request.", examples=["minilm"])]
