"""The bar that commands show on a terminal while they compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text
from typing_extensions import override

from lig_core.contract import Progress


class Rate(ProgressColumn):
    """How many of a unit are done a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    @override
    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.2f} {self._unit}/s")


@contextmanager
def progress_bar(unit: str | None = None) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, with rate and remaining time where the unit is said; silence elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:  # a bar that is disabled ends in an empty line, before rich 15
        yield lambda _: None
        return
    columns: list[ProgressColumn] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()]
    columns += [TimeElapsedColumn()] if unit is None else [Rate(unit), TimeRemainingColumn()]
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def report(progress: Progress) -> None:
            total = progress.total or None
            bar.update(task, description=progress.phase, completed=progress.done, total=total)

        yield report
