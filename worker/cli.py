"""The command `lig worker`."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.main import main
from worker.settings import Settings


def worker(
    *,
    burst: Annotated[bool, typer.Option("--burst", help="Stop when the queue is empty.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:0, … [default: the best there is].")] = None,
    models: Annotated[list[str] | None, typer.Option(help="A model to load at once; may be repeated.")] = None,
) -> None:
    """Compute queued explanations. The queue is the one in LIG_REDIS_URL."""
    given = {name: value for name, value in (("device", device), ("preload", models)) if value is not None}
    main(Settings().model_copy(update=given), burst=burst)
