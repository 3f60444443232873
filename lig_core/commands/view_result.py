"""`lig view`: a page of one result or of two."""

from __future__ import annotations

import tempfile
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from lig_core.commands.terminal import errors_in_one_line, say_written
from lig_core.commands.values import named_as


def view(
    file: Annotated[Path, typer.Argument(help="A result: .json, .ndjson, .npz or .safetensors.")],
    other: Annotated[Path | None, typer.Argument(help="Another result, to compare with it.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layer indices, comma-separated [default: all].")] = None,
    maps: Annotated[str | None, typer.Option(help="att, mlp, layer, composed; comma-separated [default: all].")] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The page to write, .html [default: one that is opened at once]."),
    ] = None,
) -> None:
    """Look at a saved result, or compare two.

    One HTML page, which loads nothing.
    """
    with errors_in_one_line():
        from lig_core.result.saved import read_result
        from lig_core.result.select import Selection, select
        from lig_core.result.viewer.page import write_comparison, write_page

        named_as("--output", output, ".html", ".htm")
        selection = Selection.parse(layers=layers, maps=maps)
        results = [select(read_result(path), selection) for path in (file, other) if path is not None]
        parts = write_page(results[0].head, results[0]) if other is None else write_comparison(*results)
        page = output or Path(tempfile.mkdtemp(prefix="lig-")) / f"{file.stem}.html"
        with page.open("wb") as written:
            written.writelines(parts)
        say_written(page, len(results[0].indices))
        if output is None:
            webbrowser.open(page.absolute().as_uri())
