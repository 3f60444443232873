"""The `lig` command. What fails is one line on standard error and exit code 2; Ctrl-C is exit code 130.

So is a result that has not converged; with `--on-unconverged fail` there is exit code 3 in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import entry_points, version
from typing import Annotated

import typer

from lig_core.commands.describe_models import boundaries
from lig_core.commands.explain_text import explain
from lig_core.commands.follow_flow import flow
from lig_core.commands.run_experiment import experiment
from lig_core.commands.serve_mcp import mcp
from lig_core.commands.terminal import fail
from lig_core.commands.view_result import view

app = typer.Typer(
    name="lig",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _command in (explain, view, flow, experiment, mcp, boundaries):
    app.command()(_command)
EXTRAS = {"mcp": "mcp", "serve": "embedded", "worker": "worker"}
"""The extra that brings what a command needs, where it is not `api`."""
OWN_PACKAGES = frozenset({"lig_core", "service", "worker"})


def _version(flag: bool) -> None:
    if flag:
        typer.echo(f"lig {version('lig-service')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Layer-wise Integrated Gradients: which tokens feed which inside a transformer layer."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, with what other installed packages add to it; absent: with the process's arguments.

    A command imports what it needs when it runs.
    """
    for point in entry_points(group="lig.commands"):
        try:
            command = point.load()
        except ModuleNotFoundError:  # that package of ours is not here: no such command then
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(name=point.name)(command)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=list(arguments))
    except ModuleNotFoundError as error:
        package, command = (error.name or "").partition(".")[0], next(iter(arguments), "")
        if package in {"", *OWN_PACKAGES}:
            raise
        remedy = f"pip install 'lig-service[{EXTRAS.get(command, 'api')}]'"
        fail(f"{package} is not installed, and lig {command} needs it; run: {remedy}")


if __name__ == "__main__":
    main()
