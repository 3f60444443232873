"""`make demo`: a real sentence through the real service, from start to stop."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress as Bar
from rich.table import Table

from lig_core.client import Client
from lig_core.commands.terminal import errors_in_one_line
from lig_core.contract import ExplainRequest, Progress
from lig_core.errors import InvalidRequest, LigError
from lig_core.models.bundled.packages import BUNDLED
from lig_core.models.references import resolve
from lig_core.result.viewer.page import render_page

TEXT = "The cat sat on the mat."
STRONGEST = 3
READY = "ready at "
STOP_SECONDS = 30


def demo(out: Path = Path("out"), model: str = "minilm") -> None:
    """Start the service, explain a sentence over HTTP, print and write what it says, stop the service."""
    with errors_in_one_line():
        _require_name(model)
        _explain(ExplainRequest(text=TEXT, model=model), out)


def _require_name(model: str) -> None:
    """Raise a LigError for a folder, which a service takes by its name inside the models folder alone, and for what can
    be no model's name: before anything is started.
    """
    if "LIG_MODELS_FOLDER" in os.environ:
        return
    folder = Path(model).expanduser().absolute()
    if folder.is_dir() and model not in BUNDLED:
        shelf, name = shlex.quote(str(folder.parent)), shlex.quote(folder.name)
        raise InvalidRequest(f"'{model}' is a folder; run: make demo LIG_MODELS_FOLDER={shelf} MODEL={name}")
    resolve(model)


def _explain(request: ExplainRequest, out: Path) -> None:
    console = Console()
    with _service() as url, Client(url) as client:
        console.print(f'POST {url}/v1/explain  "{request.text}"  model={request.model}')
        with Bar(console=console, transient=True) as bar:
            task = bar.add_task("queued", total=None)

            def show(progress: Progress) -> None:
                bar.update(task, description=progress.phase, completed=progress.done, total=progress.total or None)

            result = client.explain(request, on_progress=show)
    console.print(strongest(result))
    out.mkdir(parents=True, exist_ok=True)
    (out / "demo.json").write_text(json.dumps(result, indent=1, ensure_ascii=False), encoding="utf-8")
    (out / "demo.html").write_text(render_page(result), encoding="utf-8")
    console.print(f"wrote {out / 'demo.json'} and {out / 'demo.html'} (open it in a browser)")


def strongest(result: dict[str, Any]) -> Table:
    """The strongest contributions of each layer map: source → target, and its share of the target's total."""
    tokens = result["tokens"]
    table = Table("layer", *(f"strongest, {n + 1}" for n in range(STRONGEST)), "worst error", "converged")
    for layer, maps in result["layers"].items():
        certificate, matrix = maps["z2z"]["certificate"], maps["z2z"]["matrix"]
        shares = [
            (matrix[i][j] / total, f"{tokens[i]} → {tokens[j]}")
            for j, total in enumerate(certificate["total"])
            if total
            for i in range(len(tokens))
        ]
        best = sorted(shares, key=lambda share: -abs(share[0]))[:STRONGEST]
        table.add_row(
            layer,
            *(escape(f"{pair} {share:+.0%}") for share, pair in best),
            f"{max(certificate['completeness_error']):.0e}",
            "yes" if certificate["all_converged"] else "NO",
        )
    return table


@contextlib.contextmanager
def _service() -> Iterator[str]:
    """`lig serve` on a free port, with its data in a folder that is removed afterwards; yields its address."""
    with tempfile.TemporaryDirectory(prefix="lig-demo-") as data:
        command = [sys.executable, "-m", "lig_core.cli", "serve", "--port", "0", "--data-dir", data]
        environment = {"LIG_LOG_LEVEL": "error", "LIG_LOG_FORMAT": "text", **os.environ}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if READY in line:
                    yield line.split(READY)[1].split()[0]
                    return
            raise LigError(f"the service did not start (exit code {process.wait()}); its messages are above")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_SECONDS)


if __name__ == "__main__":
    typer.run(demo)
