"""The command `lig top`: the queue, workers and running jobs, live."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table

from service.commands.job_admin import age, console, job_column, overview, summary
from service.jobs.job import JobStatus
from service.jobs.overview import Overview
from service.jobs.queue_state import QueueState

SHOWN_JOBS = 30
SHOWN_FLOWS = 10


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two frames.")] = 1.0,
) -> None:
    """Watch the service: the queue, workers, running jobs. The Redis is that of `lig jobs`."""
    with overview() as jobs:
        if once:
            console().print(frame(jobs))
            return
        with contextlib.suppress(KeyboardInterrupt), Live(frame(jobs), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(frame(jobs), refresh=True)


def frame(jobs: Overview) -> Group:
    """Everything as it stands."""
    state = jobs.store.state()
    return Group(_queue(state), _flows(jobs), _workers(state), _running(jobs))


def _queue(state: QueueState) -> Table:
    counts = {**state.computations, "dead letters": state.sizes["dead"]}
    table = Table(*counts, "backlog", "oldest waits since")
    oldest = max(line.oldest for line in state.lines.values())
    table.add_row(*map(str, counts.values()), f"{state.backlog:.1f} s of {state.limit:.0f}", f"{oldest:.0f} s")
    return table


def _flows(jobs: Overview) -> Table:
    table = Table("owner", "priority", "waiting", "cost")
    for flow in jobs.flows()[:SHOWN_FLOWS]:
        table.add_row(flow.owner, flow.priority, str(flow.waiting), f"{flow.cost:.1f} s")
    return table


def _workers(state: QueueState) -> Table:
    table = Table("worker", "host", "pid", "state", "models in memory", "resident", "GPU")
    for worker in state.workers:
        held = ", ".join(f"{model['model']} {model['dtype']} {_size(model['bytes'])}" for model in worker.models)
        sizes = (_size(worker.resident), _size(worker.device))
        table.add_row(worker.name[:8], worker.host, str(worker.pid), worker.state, held, *sizes)
    return table


def _running(jobs: Overview) -> Table:
    table = Table(job_column("running job"), "owner", "model", "cost", "worker", "attempt", "age", "what")
    for job in jobs.jobs(JobStatus.RUNNING, SHOWN_JOBS):
        about = (job.owner, job.request.model, f"{job.cost:.1f} s", jobs.worker_of(job)[:8])
        table.add_row(job.id, *about, str(job.attempts), age(job), summary(job))
    return table


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f} MB"
