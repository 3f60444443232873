"""A flow as a graph that networkx holds, writes and reads: a node for each token at each level, an edge for each share.

Nodes are `level:token`; level k is before the flow's k-th layer, the last one after its last. An edge has `layer`,
`share`, `value`, `certified` and, where the map has one, `status`; the graph says which map, which normalisation, and
what of a token is its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import networkx
import orjson

from lig_core.errors import InvalidRequest
from lig_core.flow.shares import Flow

SUFFIXES = (".graphml", ".json")


def graph(flow: Flow, *, least: float = 0.0) -> networkx.DiGraph:
    """The edges whose |share| is above `least`, between all tokens of all levels."""
    about = {
        "model": flow.head["model"],
        "map": flow.map,
        "baseline": flow.baseline,
        "normalised_by": flow.normalised_by,
        "own_share": flow.own_share,
        "certified": "each edge by its column; no path of several edges",
    }
    made = networkx.DiGraph(**about)
    for level in range(len(flow.layers) + 1):
        for token, label in enumerate(flow.labels):
            made.add_node(f"{level}:{token}", level=level, token=token, label=_printable(label))
    for level, layer in enumerate(flow.layers):
        for i, j in zip(*(abs(layer.shares) > least).nonzero(), strict=True):
            status = {} if layer.status[j] is None else {"status": layer.status[j]}
            made.add_edge(
                f"{level}:{i}",
                f"{level + 1}:{j}",
                layer=layer.layer,
                share=float(layer.shares[i, j]),
                value=float(layer.values[i, j]),
                certified=bool(layer.converged[j]),
                **status,
            )
    return made


def count_edges(flow: Flow, *, least: float = 0.0) -> int:
    """How many edges that graph has."""
    return sum(int((abs(layer.shares) > least).sum()) for layer in flow.layers)


def graphml(made: networkx.DiGraph) -> Iterator[bytes]:
    """GraphML, line by line."""
    yield b'<?xml version="1.0" encoding="utf-8"?>\n'
    for line in networkx.generate_graphml(made):
        yield line.encode() + b"\n"


def node_link(made: networkx.DiGraph) -> dict[str, Any]:
    """JSON data as `networkx.node_link_graph(…, edges="edges")` reads it."""
    data: dict[str, Any] = networkx.node_link_data(made, edges="edges")
    return data


def write_graph(made: networkx.DiGraph, path: Path) -> None:
    """GraphML, or JSON of `node_link`, by the name's ending."""
    if path.suffix == ".graphml":
        path.write_bytes(b"".join(graphml(made)))
    elif path.suffix == ".json":
        path.write_bytes(orjson.dumps(node_link(made)))
    else:
        raise InvalidRequest(f"'{path.name}' is no graph file; name it {' or '.join(SUFFIXES)}")


def _printable(label: str) -> str:
    """The label without what XML has no room for: control characters and half surrogates."""
    return "".join(
        character
        if character in "\t\n\r"
        or " " <= character < "\ud800"
        or "\ue000" <= character <= "\ufffd"
        or character >= "\U00010000"
        else "\ufffd"
        for character in label
    )
