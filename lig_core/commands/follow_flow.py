"""`lig flow`: what is chained across the layers of a result."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from lig_core.commands.terminal import errors_in_one_line, say
from lig_core.commands.values import named_as, one_of
from lig_core.result.plain.text import json_file


def flow(
    file: Annotated[Path, typer.Argument(help="A result: .json, .ndjson, .npz or .safetensors.")],
    map: Annotated[str, typer.Option(help="The map to chain: layer, product, conserving.")] = "layer",
    source: Annotated[int | None, typer.Option("--from", help="The token that paths start at [default: any].")] = None,
    target: Annotated[int | None, typer.Option("--into", help="The token that paths end at [default: any].")] = None,
    top: Annotated[int, typer.Option(min=1, help="Paths to list, strongest first.")] = 10,
    layers: Annotated[str | None, typer.Option(help="Layer indices, comma-separated [default: all].")] = None,
    normalised_by: Annotated[str, typer.Option(help="Shares of each column's total, or absolute ones.")] = "total",
    self_term: Annotated[str, typer.Option(help="A token's own share: the map's, or half.")] = "map",
    strong: Annotated[
        bool, typer.Option("--strong", help="Paths through single heads, in the authors' format, and nothing else.")
    ] = False,
    graph: Annotated[Path | None, typer.Option(help="A graph to write as well: .graphml or .json.")] = None,
    least: Annotated[float, typer.Option(help="Shares up to this size are no edges of the graph.")] = 0.0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The .json file to write.")] = None,
) -> None:
    """Follow flow across the layers of a result.

    Rollout, strongest paths, how wide columns are; of a result that was saved.
    """
    with errors_in_one_line():
        from lig_core.flow import Flow, strong_paths
        from lig_core.flow.account import account
        from lig_core.flow.graph import graph as graph_of
        from lig_core.flow.graph import write_graph
        from lig_core.result.saved import read_result
        from lig_core.result.select import Selection, select

        named_as("--output", output, ".json")
        result = select(read_result(file), Selection.parse(layers=layers))
        options = {
            "map": one_of("--map", map, ("layer", "product", "conserving")),
            "normalised_by": one_of("--normalised-by", normalised_by, ("total", "absolute")),
            "self_term": one_of("--self-term", self_term, ("map", "half")),
        }
        chained = None if strong and graph is None else Flow.of(result, **options)
        if graph is not None and chained is not None:
            write_graph(graph_of(chained, least=least), graph)
        document: Any
        if strong or chained is None:
            document = strong_paths(result, source=source, target=target, top=top)
        else:
            document = account(result, chained, source=source, target=target, top=top)
        if output is None:
            sys.stdout.buffer.writelines(json_file(document))
        else:
            output.write_bytes(b"".join(json_file(document)))
            say(f"wrote {output}: {output.stat().st_size:,} bytes")
