"""`lig boundaries`: where z, u and z' sit in models."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from lig_core.commands.terminal import FAILED, errors_in_one_line, say
from lig_core.errors import LigError
from lig_core.threads import set_threads

if TYPE_CHECKING:
    from rich.table import Table


def boundaries(
    models: Annotated[list[str], typer.Argument(help="Models to describe.")],
    weights: Annotated[
        bool, typer.Option("--weights", help="Load the weights and verify on the model's own blocks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, with --weights.")] = None,
) -> None:
    """Show where z, u and z' sit in models.

    And which maps each supports; nothing is computed.

    A model that cannot be described keeps no other from it: it gets a line on standard error, with --json an object
    with its `error`, and the exit code is 2.
    """
    set_threads()
    from lig_core.loading.describe import describe_boundaries

    described: list[dict[str, Any]] = []
    with errors_in_one_line():
        for model in models:
            try:
                described.append(describe_boundaries(model, device=device, load_weights=weights))
            except LigError as error:
                described.append({"model": model, "error": error.as_dict()})
    failed = [row for row in described if "error" in row]
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    elif len(failed) < len(described):
        from rich.console import Console

        Console().print(_table([row for row in described if "error" not in row]))
    for row in failed:
        say(row["error"]["detail"])
    if failed:
        raise SystemExit(FAILED)


def _table(described: Iterable[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("model", "type", "layers", "layout", "maps", "u", "how it is known")
    for row in described:
        table.add_row(
            row["model"],
            row["model_type"],
            str(row["num_layers"]),
            row["layout"],
            " ".join(row["supported_granularity"]) or "unknown",
            row["nodes"]["u"],
            "; ".join([row["detection"], *row["notes"]]),
        )
    return table
