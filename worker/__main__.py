"""`python -m worker`: the command `lig worker`."""

import typer

from worker.cli import worker

typer.run(worker)
