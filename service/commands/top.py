"""The command `lig top`: the queue, workers and running jobs, live."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer

from service.commands.job_admin import overview


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two frames.")] = 1.0,
) -> None:
    """Watch the service: the queue, workers, running jobs. The Redis is that of `lig jobs`."""
    from rich.live import Live

    from service.commands.tables import console, frame

    with overview() as jobs:
        if once:
            console().print(frame(jobs))
            return
        with contextlib.suppress(KeyboardInterrupt), Live(frame(jobs), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(every)
                live.update(frame(jobs), refresh=True)
