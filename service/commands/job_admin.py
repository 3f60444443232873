"""The commands `lig jobs …`, for those who run the service: they talk to Redis, and need no API."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Column, Table

from lig_core.errors import LigError
from lig_core.serving.settings import BadSettings
from service.jobs.job import Job, JobStatus
from service.jobs.overview import Overview
from service.jobs.resource import job_json
from service.settings import Settings

app = typer.Typer(help="Look at jobs, cancel them, send them again.", no_args_is_help=True, rich_markup_mode=None)

ID_WIDTH = 32
NARROWEST = 66
"""Columns that a table of jobs takes at least, with an id and a status whole: lines longer than a terminal wrap."""
UNCUT = 1000

Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most this many.")]
JobId = Annotated[str, typer.Argument(help="The id that the API gave the job.")]


@app.command("list")
def list_jobs(
    status: Annotated[JobStatus | None, typer.Option(help="Only these [default: all].")] = None, limit: Limit = 20
) -> None:
    """List jobs."""
    with overview() as jobs:
        wanted = list(JobStatus) if status is None else [status]
        _print([job for each in wanted for job in jobs.jobs(each, limit)][:limit])


@app.command()
def show(job_id: JobId) -> None:
    """Print one job as JSON, without its result."""
    with overview() as jobs:
        sys.stdout.write(job_json(jobs.store.get(None, job_id), jobs.root).decode() + "\n")


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
    with overview() as jobs:
        _print(jobs.dead(limit))


@contextlib.contextmanager
def overview() -> Iterator[Overview]:
    """The jobs in LIG_REDIS_URL, or of the `lig serve` whose data lies in LIG_DATA_DIR. Errors are one line."""
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


def _print(jobs: Sequence[Job]) -> None:
    status = Column("status", no_wrap=True, min_width=max(map(len, JobStatus)))  # never cut, either
    table = Table(job_column(), "owner", "model", "cost", status, "attempts", "age", "what")
    for job in jobs:
        about = (job.owner, job.request.model, f"{job.cost:.1f} s")
        table.add_row(job.id, *about, str(job.status), str(job.attempts), age(job), summary(job))
    console().print(table if jobs else "no jobs")


def job_column(title: str = "job") -> Column:
    """Ids are to be copied: never cut, however narrow the terminal is."""
    return Column(title, no_wrap=True, min_width=ID_WIDTH)


def console() -> Console:
    """As wide as the terminal, but for very narrow ones; what goes into a file or a pipe is not cut at all."""
    terminal = Console()
    if terminal.is_terminal and terminal.width >= NARROWEST:
        return terminal
    return Console(width=NARROWEST if terminal.is_terminal else UNCUT)


def age(job: Job) -> str:
    """Time since the job was accepted, in words."""
    seconds = max(0, int((datetime.now(UTC) - job.created_at).total_seconds()))
    days, clock = divmod(seconds, 86400)
    return f"{f'{days} d ' if days else ''}{clock // 3600}:{clock % 3600 // 60:02}:{clock % 60:02}"


def summary(job: Job) -> str:
    """The last column of a job's row, by its state."""
    if job.error is not None:
        return str(job.error["code"])
    if job.status is JobStatus.QUEUED:
        return f"{job.queue_position} ahead" if job.queue_position is not None else "being started"
    if job.status is JobStatus.RUNNING:
        return f"{job.progress.phase} {job.progress.done}/{job.progress.total} {job.progress.unit}"
    return f"{job.result_size:,} bytes" if job.result_size is not None else ""
