"""Jobs, the queue and workers as tables on a terminal, for `lig jobs` and `lig top`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Console, Group
from rich.table import Column, Table

from service.jobs.job import Job, JobStatus
from service.jobs.overview import Overview
from service.jobs.queue_state import QueueState

ID_WIDTH = 32
NARROWEST = 66
"""Columns that a table of jobs takes at least, with an id and a status whole: lines longer than a terminal wrap."""
UNCUT = 1000
SHOWN_JOBS = 30
SHOWN_FLOWS = 10


def print_jobs(jobs: Sequence[Job]) -> None:
    """A row for each job."""
    status = Column("status", no_wrap=True, min_width=max(map(len, JobStatus)))  # never cut, either
    table = Table(_job_column(), "owner", "model", "cost", status, "attempts", "age", "what")
    for job in jobs:
        about = (job.owner, job.request.model, f"{job.cost:.1f} s")
        table.add_row(job.id, *about, str(job.status), str(job.attempts), _age(job), _summary(job))
    console().print(table if jobs else "no jobs")


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
    table = Table(_job_column("running job"), "owner", "model", "cost", "worker", "attempt", "age", "what")
    for job in jobs.jobs(JobStatus.RUNNING, SHOWN_JOBS):
        about = (job.owner, job.request.model, f"{job.cost:.1f} s", jobs.worker_of(job)[:8])
        table.add_row(job.id, *about, str(job.attempts), _age(job), _summary(job))
    return table


def _size(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f} MB"


def _job_column(title: str = "job") -> Column:
    """Ids are to be copied: never cut, however narrow the terminal is."""
    return Column(title, no_wrap=True, min_width=ID_WIDTH)


def console() -> Console:
    """As wide as the terminal, but for very narrow ones; what goes into a file or a pipe is not cut at all."""
    terminal = Console()
    if terminal.is_terminal and terminal.width >= NARROWEST:
        return terminal
    return Console(width=NARROWEST if terminal.is_terminal else UNCUT)


def _age(job: Job) -> str:
    """Time since the job was accepted, in words."""
    seconds = max(0, int((datetime.now(UTC) - job.created_at).total_seconds()))
    days, clock = divmod(seconds, 86400)
    return f"{f'{days} d ' if days else ''}{clock // 3600}:{clock % 3600 // 60:02}:{clock % 60:02}"


def _summary(job: Job) -> str:
    """The last column of a job's row, by its state."""
    if job.error is not None:
        return str(job.error["code"])
    if job.status is JobStatus.QUEUED:
        return f"{job.queue_position} ahead" if job.queue_position is not None else "being started"
    if job.status is JobStatus.RUNNING:
        return f"{job.progress.phase} {job.progress.done}/{job.progress.total} {job.progress.unit}"
    return f"{job.result_size:,} bytes" if job.result_size is not None else ""
