"""The command `lig serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on [default: 127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one [default: 8000].")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where jobs and results are kept [default: .lig]; give lig jobs and lig top the same LIG_DATA_DIR."
        ),
    ] = None,
    models_folder: Annotated[Path | None, typer.Option(help="Folder of models that requests may name.")] = None,
    redis_url: Annotated[str | None, typer.Option(help="Redis to use; absent: one is started here.")] = None,
    insecure_bind: Annotated[bool, typer.Option(help="Allow an address that other machines can reach.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Print the settings in force and stop.")] = False,
) -> None:
    """Serve the HTTP API, with a worker and a Redis of its own.

    Every option is also a variable, LIG_HOST and so on; what is given here wins.
    """
    from pydantic import SecretStr

    from lig_core.serving.settings import BadSettings, lines
    from service.process import supervisor
    from service.settings import Settings

    try:
        settings = Settings.read(
            host=host,
            port=port,
            data_dir=data_dir,
            models_folder=models_folder,
            redis_url=SecretStr(redis_url) if redis_url else None,
            insecure_bind=insecure_bind or None,
        )
    except BadSettings as error:
        raise _stop(str(error), 2) from None
    if check:
        typer.echo(lines(settings))
        return
    try:
        supervisor.serve(settings)
    except supervisor.ServeError as error:
        raise _stop(str(error), error.exit_code) from None


def _stop(message: str, code: int) -> typer.Exit:
    typer.echo(f"lig serve: {message}", err=True)
    return typer.Exit(code)
