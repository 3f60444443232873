"""The command `lig worker`."""

from __future__ import annotations

from typing import Annotated

import typer


def worker(
    *,
    burst: Annotated[bool, typer.Option("--burst", help="Stop when the queue is empty.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0, … [default: the best there is].")] = None,
    models: Annotated[list[str] | None, typer.Option(help="A model to load at once; may be repeated.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Print the settings in force and stop.")] = False,
) -> None:
    """Compute queued explanations. The queue is the one in LIG_REDIS_URL."""
    from lig_core.serving.settings import BadSettings, lines
    from worker.main import main
    from worker.settings import Settings

    try:
        settings = Settings.read(device=device, preload=models)
    except BadSettings as error:
        typer.echo(f"lig worker: {error}", err=True)
        raise typer.Exit(2) from None
    if check:
        typer.echo(lines(settings))
        return
    main(settings, burst=burst)
