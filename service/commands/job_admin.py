"""The commands `lig jobs …`, for those who run the service: they talk to Redis, and need no API."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from lig_core.errors import LigError

if TYPE_CHECKING:
    from service.jobs.job import JobStatus
    from service.jobs.overview import Overview
    from service.settings import Settings

app = typer.Typer(help="Look at jobs, cancel them, send them again.", no_args_is_help=True, rich_markup_mode=None)

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")]
JobId = Annotated[str, typer.Argument(help="The id that the API gave the job.")]


def _status(text: str) -> JobStatus:
    from service.jobs.job import JobStatus

    try:
        return JobStatus(text)
    except ValueError:
        raise typer.BadParameter(f"'{text}' is none of {', '.join(JobStatus)}") from None


@app.command("list")
def list_jobs(
    status: Annotated[
        Any,
        typer.Option(
            parser=_status,
            metavar="STATUS",
            help="Only queued, running, succeeded, failed or cancelled ones [default: all].",
        ),
    ] = None,
    limit: Limit = 20,
) -> None:
    """List jobs."""
    from service.commands.tables import print_jobs
    from service.jobs.job import JobStatus

    with overview() as jobs:
        wanted = list(JobStatus) if status is None else [status]
        print_jobs([job for each in wanted for job in jobs.jobs(each, limit)][:limit])


@app.command()
def show(job_id: JobId) -> None:
    """Print one job as JSON, without its result."""
    from service.jobs.resource import job_json

    with overview() as jobs:
        typer.echo(job_json(jobs.store.get(None, job_id), jobs.root))


@app.command()
def cancel(job_id: JobId) -> None:
    """Cancel a job; a running computation that no other job needs stops a moment after."""
    with overview() as jobs:
        typer.echo(f"{job_id} {jobs.store.cancel(None, job_id).status}")


@app.command()
def retry(job_id: JobId) -> None:
    """Queue a failed or cancelled job again."""
    with overview() as jobs:
        typer.echo(f"{job_id} {jobs.store.retry(job_id).status}")


@app.command()
def dead(limit: Limit = 20) -> None:
    """List the jobs that were given up because the process computing them died too often."""
    from service.commands.tables import print_jobs

    with overview() as jobs:
        print_jobs(jobs.dead(limit))


@contextlib.contextmanager
def overview() -> Iterator[Overview]:
    """The jobs in LIG_REDIS_URL, or of the `lig serve` whose data lies in LIG_DATA_DIR. Errors are one line."""
    from lig_core.serving.settings import BadSettings
    from service.jobs.overview import Overview
    from service.settings import Settings

    try:
        settings = Settings.read()
        yield Overview(_address(settings), settings)
    except (BadSettings, LigError) as error:
        typer.echo(f"lig: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None


def _address(settings: Settings) -> str:
    if settings.redis_url is not None:
        return settings.redis_address
    socket = Path(settings.data_dir).absolute() / "redis.sock"
    if not socket.exists():
        raise LigError(f"no Redis: set LIG_REDIS_URL, or LIG_DATA_DIR to that of a running `lig serve` (not {socket})")
    return f"unix://{quote(str(socket))}"
