"""What commands say: one line on standard error, an exit code, JSON on standard output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Never

import typer

from lig_core import COMPUTING
from lig_core.errors import LigError, NotConverged

FAILED, UNCONVERGED = 2, 3
"""Exit codes: of what fails; of a result that has not converged, with `--on-unconverged fail`."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the command with one line where something fails that its user can do something about.

    A reader of standard output who left, such as `head`, is no fault: typer ends the command quietly then.
    """
    try:
        yield
        sys.stdout.flush()  # here, and not when the interpreter ends, which would print a traceback
    except LigError as error:
        fail(error.detail, UNCONVERGED if error.code == NotConverged.code else FAILED)
    except typer.BadParameter as error:
        fail(error.message)
    except ModuleNotFoundError as error:
        if error.name not in COMPUTING:
            raise
        fail(
            f"{error.name} is not installed, and computing here needs it; run: pip install 'lig-service[core]', "
            "or name a service with --server"
        )
    except BrokenPipeError:
        raise
    except OSError as error:
        fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def fail(message: str, code: int = FAILED) -> Never:
    """End the command with a message and an exit code."""
    say(message)
    raise SystemExit(code)


def say(message: str) -> None:
    """One line on standard error, whatever the message is made of."""
    typer.echo(f"lig: {' '.join(message.split())}", err=True)


def say_written(output: Path, layers: int) -> None:
    """Say which file was written, of what size and how many layers."""
    size = output.stat().st_size
    typer.echo(f"lig: wrote {output}: {size:,} bytes, {layers} layer{'' if layers == 1 else 's'}", err=True)
