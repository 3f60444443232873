"""`lig experiment`: pairs of baselines over a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lig_core.commands.terminal import errors_in_one_line, say
from lig_core.commands.values import ApiKey, Server, Threads, integers, range_of
from lig_core.threads import set_threads

if TYPE_CHECKING:
    from lig_core.experiment.conduct import Place


def experiment(
    corpus: Annotated[
        Path, typer.Argument(help="Sentences: .txt, .jsonl, .conllu, .dep; or a folder of the authors' files.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; the same one goes on with it.")],
    model: Annotated[
        str, typer.Option(help="minilm, smollm2, a Hugging Face id[@revision], or a local folder.")
    ] = "bert-base-uncased",
    form: Annotated[
        str | None, typer.Option("--format", help="lines, jsonl, conllu, stanford [default: by the name's ending].")
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Keys of pairs, or groups: itb, itb_zero_ratio, zero [default: all 24].")
    ] = None,
    sentences: Annotated[str | None, typer.Option(help="From a number up to, not with, another: 0:100.")] = None,
    most_tokens: Annotated[int, typer.Option(min=1, help="Longer sentences are left out, and counted.")] = 128,
    layers: Annotated[str | None, typer.Option(help="Layer indices, comma-separated [default: all].")] = None,
    words: Annotated[bool, typer.Option("--words", help="Compare words: subwords are summed on both sides.")] = False,
    rtol: Annotated[float, typer.Option(help="Relative tolerance of the adaptive quadrature.")] = 1e-3,
    maps: Annotated[bool, typer.Option("--maps", help="Keep every map as well, in the authors' files.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda [default: a GPU where there is one].")] = None,
    threads: Threads = None,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Compare pairs of baselines over a corpus.

    The paper's 24 pairs, or some of them: tables, plots, a report. With --server all workers of a service take part.
    """
    with errors_in_one_line():
        from lig_core.commands.progress_bar import progress_bar
        from lig_core.experiment.conduct import Plan, compare_authors, conduct, require_packages
        from lig_core.experiment.corpora import read_corpus
        from lig_core.experiment.pairs import chosen

        if corpus.is_dir():
            compare_authors(corpus, output)
            say(f"wrote {output}: the authors' tables of their files")
            return
        require_packages()
        if server is not None and device is not None:
            raise typer.BadParameter("--device is for computing here; the service chooses its own")
        if server is not None and maps:
            raise typer.BadParameter("--maps keeps maps that are computed here; a service's workers keep none")
        read = read_corpus(corpus, form)
        start, end = range_of("--sentences", sentences)
        plan = Plan(
            pairs=chosen(None if pairs is None else [key.strip() for key in pairs.split(",") if key.strip()]),
            start=start,
            end=end,
            most_tokens=most_tokens,
            layers=integers("--layers", layers),
            words=words,
            rtol=rtol,
            maps=maps,
        )
        kept = output / "authors" if maps else None
        with (
            _place(model, server, api_key, device, threads, kept) as place,
            progress_bar(unit="sentences") as report,
        ):
            conduct(read, place, output, plan, progress=report)
        say(f"wrote {output}: report.md, consistency.csv, columns.parquet, summary.csv, top.csv, plots")


@contextmanager
def _place(
    model: str, server: str | None, api_key: str | None, device: str | None, threads: int | None, maps: Path | None
) -> Iterator[Place]:
    if server is None:
        set_threads(threads)
        from lig_core.experiment.here import Here
        from lig_core.loading.loaded import load_model
        from lig_core.models.catalog import find_model

        yield Here(load_model(find_model(model), device=device), maps)
        return
    from lig_core.client import Client
    from lig_core.experiment.there import There

    with Client(server, api_key=api_key) as client:
        yield There(client, model)
