"""Options that several commands have; values that are more than one word or number, with a BadParameter each that says
what is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

Threads = Annotated[
    int | None,
    typer.Option(
        envvar="LIG_THREADS",
        min=1,
        help="Threads to compute with on the CPU [default: OMP_NUM_THREADS, else the processors granted].",
    ),
]

Server = Annotated[str | None, typer.Option(help="URL of a LIG service to compute on [default: compute here].")]
ApiKey = Annotated[
    str | None, typer.Option(envvar="LIG_API_KEY", help="The key that the service knows you by, with --server.")
]


def one_of(option: str, value: str, known: Sequence[str]) -> Any:
    """The value, which has to be a known one."""
    if value not in known:
        raise typer.BadParameter(f"{option} is one of {', '.join(known)}; got {value!r}")
    return value


def named_as(option: str, path: Path | None, *endings: str) -> Path | None:
    """The path of a file to write, whose name has to end with one of these; None where it is absent."""
    if path is not None and path.suffix not in endings:
        raise typer.BadParameter(f"{option} takes a name that ends with {' or '.join(endings)}; got '{path.name}'")
    return path


def range_of(option: str, value: str | None) -> tuple[int, int | None]:
    """`3:7` as (3, 7); what is left out is the beginning, or the end (None)."""
    if value is None:
        return 0, None
    start, colon, end = value.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (start, end)):
        raise typer.BadParameter(f"{option} takes a range such as 0:100; got {value!r}")
    return int(start or 0), int(end) if end else None


def integers(option: str, value: str | None) -> list[int] | None:
    """`0,5` as [0, 5]; None where the option is absent."""
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"{option} takes integers separated by commas, such as 0,5; got {value!r}") from None


def listed_tokens(value: str | None) -> Any:
    """What --tokens holds, for the request to judge; None where it is absent."""
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise typer.BadParameter(
            f"""--tokens takes a JSON list, such as '["[CLS]", "the", "cat", "[SEP]"]'; got {value!r}"""
        ) from None
