"""`lig mcp`: the tools for assistants that speak the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lig_core.commands.terminal import errors_in_one_line
from lig_core.commands.values import ApiKey, Server
from lig_core.errors import LigError

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from lig_core.commands.mcp_tools import Tools

INSTRUCTIONS = (
    "Layer-wise Integrated Gradients: which tokens feed which inside each layer of a transformer. A contribution is "
    "measured from a baseline and means nothing without it. Say with every number whether it is certified."
)
Maps = list[Literal["att", "mlp", "layer", "composed"]]
FlowMap = Literal["layer", "product", "conserving"]


def mcp(
    server: Server = None,
    api_key: ApiKey = None,
    folder: Annotated[
        Path, typer.Option(help="Where results are written and read; nothing outside it is.", file_okay=False)
    ] = Path(),
) -> None:
    """Serve explain, trace and compare to assistants.

    Model Context Protocol over standard input and output, until that ends.
    """
    with errors_in_one_line():
        from lig_core.client import Client
        from lig_core.commands.mcp_tools import Tools

        if server is None:
            mcp_server(Tools(folder)).run("stdio")
        else:
            with Client(server, api_key=api_key) as client:
                mcp_server(Tools(folder, client)).run("stdio")


def mcp_server(tools: Tools) -> MCPServer:
    """The server of these tools. A LigError, and what a file refuses, are errors of the tool, which say what to do."""
    from importlib.metadata import version

    import anyio
    from mcp.server import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer("lig", instructions=INSTRUCTIONS, version=version("lig-service"), log_level="WARNING")

    async def answer(tool: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        try:
            return await anyio.to_thread.run_sync(tool, *arguments)
        except LigError as error:
            raise ToolError(_problem(error)) from error
        except OSError as error:
            raise ToolError(f"{error.strerror}: {error.filename and os.fspath(error.filename)}") from error

    @server.tool()
    async def explain(
        text: str,
        model: str = "minilm",
        granularity: Maps | None = None,
        layers: list[int] | None = None,
        target_tokens: list[int] | None = None,
        options: dict[str, Any] | None = None,
        top: int = 10,
        file: str | None = None,
    ) -> dict[str, Any]:
        """Explain a text: of each map (default: layer) of each layer the `top` largest contributions, source to target.

        `options` are further fields of a request: baseline_layer, baseline_att, baseline_mlp, rtol, dtype, num_steps,
        merge_subwords, target_head. `file` writes the whole result too: .json, .ndjson, .npz, .safetensors or .html.
        The answer's `result` names it for trace and compare.
        """
        request = {
            "text": text,
            "model": model,
            "granularity": granularity or ["layer"],
            "layers": layers,
            "target_tokens": target_tokens,
            **(options or {}),
        }
        return await answer(tools.explain, request, top, file)

    @server.tool()
    async def trace(
        result: str,
        map: FlowMap = "layer",
        source: int | None = None,
        target: int | None = None,
        top: int = 10,
        layers: str | None = None,
    ) -> dict[str, Any]:
        """Chain the layers of a result: its strongest paths from token `source` into token `target` (indices; any).

        `result` is a name that explain answered with, a file, or a job of the service. It has to hold consecutive
        layers; `layers` takes some of them (0,1,2). Products of shares are never certified.
        """
        return await answer(tools.trace, result, map, source, target, top, layers)

    @server.tool()
    async def compare(
        a: str, b: str, top: int = 10, layers: str | None = None, maps: str | None = None
    ) -> dict[str, Any]:
        """Compare two results, b less a: what differs in their settings, and of each map the `top` largest changes.

        Results are named as in trace; `layers` (0,1) and `maps` (layer,att) take parts of them.
        """
        return await answer(tools.compare, a, b, top, layers, maps)

    return server


def _problem(error: LigError) -> str:
    """Its code, what to do, and where in the request."""
    problem = error.as_dict()
    where = [f"{part['pointer']}: {part['detail']}" for part in problem.get("errors", ())]
    return "; ".join([f"{problem['code']}: {error.detail}", *(part for part in where if error.detail not in part)])
