"""`lig serve` with the scripted worker, which is up in a moment: for tests of the supervision alone."""

import functools
import os
import sys
from pathlib import Path

import typer

from service.commands import serve
from service.process import supervisor

WORKER = (sys.executable, str(Path(__file__).parent / "scripted_worker.py"), os.devnull)

supervisor.serve = functools.partial(supervisor.serve, worker=WORKER)
typer.run(serve.serve)
