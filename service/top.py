"""The command `lig top`: lanes, workers and running jobs, live."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from service.jobs import JobStatus
from service.jobs_cli import age, overview, what
from service.overview import Overview

SHOWN_JOBS = 30


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two frames.")] = 1.0,
) -> None:
    """Watch the service: lanes, workers, running jobs. The Redis is that of `lig jobs`."""
    with overview() as jobs:
        if once:
            Console().print(frame(jobs))
            return
        with contextlib.suppress(KeyboardInterrupt), Live(frame(jobs), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(frame(jobs), refresh=True)


def frame(jobs: Overview) -> Group:
    """Everything as it stands."""
    return Group(_lanes(jobs), _workers(jobs), _running(jobs))


def _lanes(jobs: Overview) -> Table:
    table = Table("lane", "queued", "running", "succeeded", "failed", "cancelled", "dead letters")
    for lane in jobs.lanes():
        counts = (lane.queued, lane.running, lane.succeeded, lane.failed, lane.cancelled, lane.dead)
        table.add_row(lane.priority, *map(str, counts))
    return table


def _workers(jobs: Overview) -> Table:
    table = Table("worker", "host", "pid", "state", "models in memory", "resident", "GPU")
    for worker in jobs.workers():
        held = ", ".join(f"{model['model']} {model['dtype']} {_size(model['bytes'])}" for model in worker.models)
        sizes = (_size(worker.resident), _size(worker.device))
        table.add_row(worker.name[:8], worker.host, str(worker.pid), worker.state, held, *sizes)
    return table


def _running(jobs: Overview) -> Table:
    table = Table("running job", "worker", "attempt", "age", "what")
    for job in jobs.jobs(JobStatus.RUNNING, SHOWN_JOBS):
        table.add_row(job.id, jobs.worker_of(job.id)[:8], str(job.attempts), age(job), what(job))
    return table


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f} MB"
