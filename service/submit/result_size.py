"""The size of a result, in JSON and as arrays. The constants are those of the document's own layout."""

from __future__ import annotations

from lig_core.contract import ExplainRequest, MapName
from service.submit.model_shape import Shape

HEAD_BYTES, HEAD_BYTES_PER_TOKEN = 1800, 35
"""The part before the layers: config, boundaries, receipt; tokens, labels and offsets."""

NUMBER = {"float32": 11.8, "float64": 20.5}
"""A number and its comma, in its shortest digits."""
NULL = 5
CERTIFICATE_PER_COLUMN, MAP_BYTES = 57, 250
COMPARISON_PER_COLUMN, COMPOSED_BYTES = 60, 450
HEAD_RECORD, HEADS_RECORD, MLP_RECORD, TARGET_RECORD = 186, 190, 440, 65
PER_HEAD = 20
LABELLED_ENTRY, LABELLED_COLUMN = 72, 75
"""An entry of `token_to_token`, and what each target's list begins with."""

BINARY_COLUMN, BINARY_LAYER = 26, 900
"""Certificate of a column as arrays; the description of a layer's arrays."""


def json_bytes(request: ExplainRequest, shape: Shape, tokens: int, targets: int, layers: int) -> int:
    """Bytes of the result as JSON; by words it is smaller than this."""
    a_layer = sum(json_bytes_of(name, request, shape, tokens, targets) for name in request.maps)
    own = TARGET_RECORD * targets if {"att", "mlp"} & {*request.maps} else 0
    return round(
        HEAD_BYTES + HEAD_BYTES_PER_TOKEN * tokens + len("".join(request.subject).encode()) + layers * (a_layer + own)
    )


def json_bytes_of(name: MapName, request: ExplainRequest, shape: Shape, tokens: int, targets: int) -> float:
    """Bytes of one map of one layer."""
    number = NUMBER[request.dtype]
    matrix = tokens * (targets * number + (tokens - targets) * NULL)
    if request.labels:
        matrix += targets * (LABELLED_COLUMN + tokens * (LABELLED_ENTRY + number))
    if name == "layer":
        return matrix + CERTIFICATE_PER_COLUMN * tokens + MAP_BYTES
    if name == "composed":
        return 2 * (matrix + COMPARISON_PER_COLUMN * tokens) + COMPOSED_BYTES
    if name == "att":
        heads = _heads(request, shape)
        return targets * (HEADS_RECORD + heads * (HEAD_RECORD + tokens * number))
    return targets * (MLP_RECORD + _sources(request, shape) * number + _per_head(request, shape) * PER_HEAD)


def binary_bytes(request: ExplainRequest, shape: Shape, tokens: int, targets: int, layers: int) -> int:
    """Bytes of the result as arrays, before compression."""
    number = 8 if request.dtype == "float64" else 4
    columns: dict[MapName, tuple[int, int]] = {
        "layer": (targets, tokens),
        "att": (targets * _heads(request, shape), tokens),
        "mlp": (targets, _sources(request, shape)),
        "composed": (2 * targets, tokens),
    }
    map_columns = [columns[name] for name in request.maps]
    a_layer = sum(count * (sources * number + BINARY_COLUMN) for count, sources in map_columns)
    return round(HEAD_BYTES + HEAD_BYTES_PER_TOKEN * tokens + layers * (a_layer + BINARY_LAYER))


def _heads(request: ExplainRequest, shape: Shape) -> int:
    return shape.heads if request.target_head is None else 1


def _sources(request: ExplainRequest, shape: Shape) -> int:
    return shape.hidden if request.u_node == "residual" else shape.heads * shape.head_dim


def _per_head(request: ExplainRequest, shape: Shape) -> int:
    return shape.heads if request.u_node == "heads" else 0
