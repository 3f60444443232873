"""The `lig` command. What fails is one line on standard error and exit code 2; Ctrl-C is exit code 130.

So is a result that has not converged; with `--on-unconverged fail` there is exit code 3 in its place.
"""

from __future__ import annotations

import sys
import tempfile
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Never

import orjson
import typer

from lig_core import COMPUTING
from lig_core.errors import LigError, NotConverged
from lig_core.result.unconverged import complaint

if TYPE_CHECKING:
    from rich.table import Table

    from lig_core.client import Client, Job
    from lig_core.contract import ExplainRequest, Progress

app = typer.Typer(
    name="lig",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
Report = Callable[["Progress"], None]
EXTRAS = {"serve": "embedded", "worker": "worker"}
"""The extra that brings a command of the service, where it is not `api`."""
OWN_PACKAGES = frozenset({"lig_core", "service", "worker"})
FAILED, UNCONVERGED = 2, 3
"""Exit codes: of what fails; of a result that has not converged, with `--on-unconverged fail`."""
INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of the signal."""


def _version(flag: bool) -> None:
    if flag:
        typer.echo(f"lig {version('lig-service')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and stop.")
    ] = False,
) -> None:
    """Layer-wise Integrated Gradients: which tokens feed which inside a transformer layer."""


@app.command()
def explain(
    text: Annotated[str | None, typer.Argument(help="The text to explain.")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="In place of the text: tokens as a result has them, as a JSON list.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="minilm, smollm2, a Hugging Face id[@revision], or a local folder.")
    ] = "bert-base-uncased",
    steps: Annotated[int | None, typer.Option(help="Gauss-Legendre nodes [default: adaptive to --rtol].")] = None,
    granularity: Annotated[str, typer.Option(help="att, mlp, layer, composed, all; comma-separated.")] = "all",
    layers: Annotated[str | None, typer.Option(help="Layer indices, comma-separated [default: all].")] = None,
    target_tokens: Annotated[
        str | None, typer.Option(help="Target token indices, comma-separated [default: all].")
    ] = None,
    target_head: Annotated[int | None, typer.Option(help="One attention head for att [default: all].")] = None,
    baseline_att: Annotated[
        str, typer.Option(help="zero, self_input_token, itb_zero_ratio, itb_map_ratio.")
    ] = "self_input_token",
    baseline_mlp: Annotated[str, typer.Option(help="zero, att_itb_a0.")] = "zero",
    baseline_layer: Annotated[str, typer.Option(help="zero, self_input_token, itb_zero_ratio.")] = "self_input_token",
    u_node: Annotated[str, typer.Option(help="What mlp starts from: residual or heads.")] = "residual",
    no_residual: Annotated[bool, typer.Option("--no-residual", help="Cut the residual around the MLP.")] = False,
    rtol: Annotated[float, typer.Option(help="Relative tolerance of the adaptive quadrature.")] = 1e-3,
    on_unconverged: Annotated[
        str,
        typer.Option(
            help="Where a column misses the tolerance: warn (a line on standard error), fail (that line, exit code 3 "
            "and no result), ignore."
        ),
    ] = "warn",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    labels: Annotated[bool, typer.Option(help="Add every matrix entry by entry, with token names.")] = True,
    words: Annotated[bool, typer.Option("--words", help="Answer by words: subwords are summed.")] = False,
    special_tokens: Annotated[
        bool, typer.Option(help="Let the tokenizer add its special tokens to the text, such as [CLS] or BOS.")
    ] = True,
    prefix_space: Annotated[
        bool, typer.Option("--prefix-space", help="Read the text as after a space (GPT-2, RoBERTa).")
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, or auto: spread over several [default: a GPU where there is one].")
    ] = None,
    server: Annotated[
        str | None, typer.Option(help="URL of a LIG service to compute on [default: compute here].")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="LIG_API_KEY", help="The key that the service knows you by, with --server.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File to write: .json, .ndjson, .npz, .safetensors, or .html for a page to look at."
        ),
    ] = None,
) -> None:
    """Explain one text; JSON goes to standard output or to a file."""
    with _errors_in_one_line():
        from lig_core.config import plain_options
        from lig_core.contract import parse_request

        options = plain_options(
            {
                "text": text,
                "tokens": _listed_tokens(tokens),
                "model": model,
                "num_steps": steps,
                "granularity": [part.strip() for part in granularity.split(",") if part.strip()],
                "layers": _integers("--layers", layers),
                "target_tokens": _integers("--target-tokens", target_tokens),
                "target_head": target_head,
                "baseline_att": baseline_att,
                "baseline_mlp": baseline_mlp,
                "baseline_layer": baseline_layer,
                "u_node": u_node,
                "include_residual_connection": not no_residual,
                "rtol": rtol,
                "on_unconverged": on_unconverged,
                "dtype": dtype,
                "labels": labels,
                "merge_subwords": words,
                "special_tokens": special_tokens,
                "prefix_space": prefix_space,
            }
        )
        request = parse_request(options)
        if server is not None and device is not None:
            raise typer.BadParameter("--device is for computing here; the service chooses its own")
        if server is None:
            from lig_core.progress_bar import progress_bar

            with progress_bar() as report:
                result = _explain_here(request, device, report)
            _write(result, output)
            _tell_unconverged(request, complaint(result))
        else:
            from lig_core.client import Client

            with Client(server, api_key=api_key) as client:
                _explain_there(request, client, output)


@app.command()
def view(
    file: Annotated[Path, typer.Argument(help="A result: .json, .ndjson, .npz or .safetensors.")],
    other: Annotated[Path | None, typer.Argument(help="Another result, to compare with it.")] = None,
    layers: Annotated[str | None, typer.Option(help="Layer indices, comma-separated [default: all].")] = None,
    maps: Annotated[str | None, typer.Option(help="att, mlp, layer, composed; comma-separated [default: all].")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The page to write [default: one that is opened at once].")
    ] = None,
) -> None:
    """Look at a saved result, or at two: one HTML page, which loads nothing."""
    with _errors_in_one_line():
        from lig_core.result.saved import read_result
        from lig_core.result.select import Selection, select
        from lig_core.result.viewer.page import write_comparison, write_page

        selection = Selection.parse(layers=layers, maps=maps)
        results = [select(read_result(path), selection) for path in (file, other) if path is not None]
        parts = write_page(results[0].head, results[0]) if other is None else write_comparison(*results)
        page = output or Path(tempfile.mkdtemp(prefix="lig-")) / f"{file.stem}.html"
        with page.open("wb") as written:
            written.writelines(parts)
        _say_written(page, len(results[0].indices))
        if output is None:
            webbrowser.open(page.absolute().as_uri())


@app.command()
def flow(
    file: Annotated[Path, typer.Argument(help="A result: .json, .ndjson, .npz or .safetensors.")],
    map: Annotated[str, typer.Option(help="The map to chain: layer, product, conserving.")] = "layer",
    source: Annotated[int | None, typer.Option("--from", help="The token that paths start at [default: any].")] = None,
    target: Annotated[int | None, typer.Option("--into", help="The token that paths end at [default: any].")] = None,
    top: Annotated[int, typer.Option(min=1, help="Paths to list, strongest first.")] = 10,
    layers: Annotated[str | None, typer.Option(help="Layer indices, comma-separated [default: all].")] = None,
    normalised_by: Annotated[str, typer.Option(help="Shares of each column's total, or absolute ones.")] = "total",
    self_term: Annotated[str, typer.Option(help="A token's own share: the map's, or half.")] = "map",
    strong: Annotated[
        bool, typer.Option("--strong", help="Paths through single heads, in the authors' format, and nothing else.")
    ] = False,
    graph: Annotated[Path | None, typer.Option(help="A graph to write as well: .graphml or .json.")] = None,
    least: Annotated[float, typer.Option(help="Shares up to this size are no edges of the graph.")] = 0.0,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="The JSON file to write.")] = None,
) -> None:
    """Follow flow across the layers of a saved result: rollout, strongest paths, how wide columns are."""
    with _errors_in_one_line():
        from lig_core.flow import Flow, strong_paths
        from lig_core.flow.account import account
        from lig_core.flow.graph import graph as graph_of
        from lig_core.flow.graph import write_graph
        from lig_core.result.saved import read_result
        from lig_core.result.select import Selection, select

        result = select(read_result(file), Selection.parse(layers=layers))
        options = {
            "map": _one_of("--map", map, ("layer", "product", "conserving")),
            "normalised_by": _one_of("--normalised-by", normalised_by, ("total", "absolute")),
            "self_term": _one_of("--self-term", self_term, ("map", "half")),
        }
        document: Any
        if strong:
            document = strong_paths(result, source=source, target=target, top=top)
        else:
            chained = Flow.of(result, **options)
            document = account(result, chained, source=source, target=target, top=top)
        if graph is not None:
            write_graph(graph_of(Flow.of(result, **options), least=least), graph)
        if output is None:
            sys.stdout.buffer.write(_json(document))
        else:
            output.write_bytes(_json(document))
            _say(f"wrote {output}: {output.stat().st_size:,} bytes")


@app.command()
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
) -> None:
    """Measure the paper's 24 pairs of baselines over a corpus: tables, plots, a report."""
    with _errors_in_one_line():
        from lig_core.experiment.conduct import Plan, compare_authors, conduct, require_packages
        from lig_core.experiment.corpora import read_corpus
        from lig_core.experiment.pairs import chosen
        from lig_core.loading.loaded import load_model
        from lig_core.models.catalog import find_model
        from lig_core.progress_bar import progress_bar

        if corpus.is_dir():
            compare_authors(corpus, output)
            _say(f"wrote {output}: the authors' tables of their files")
            return
        require_packages()
        read = read_corpus(corpus, form)
        start, end = _range("--sentences", sentences)
        plan = Plan(
            pairs=chosen(None if pairs is None else [key.strip() for key in pairs.split(",") if key.strip()]),
            start=start,
            end=end,
            most_tokens=most_tokens,
            layers=_integers("--layers", layers),
            words=words,
            rtol=rtol,
            maps=maps,
        )
        loaded = load_model(find_model(model), device=device)
        with progress_bar(unit="sentences") as report:
            conduct(read, loaded, output, plan, progress=report)
        _say(f"wrote {output}: report.md, consistency.csv, columns.parquet, summary.csv, top.csv, plots")


@app.command()
def boundaries(
    models: Annotated[list[str], typer.Argument(help="Models to describe.")],
    weights: Annotated[
        bool, typer.Option("--weights", help="Load the weights and verify on the model's own blocks.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu or cuda, with --weights.")] = None,
) -> None:
    """Show where z, u and z' sit in models, and which maps each supports; nothing is computed.

    A model that cannot be described keeps no other from it: it gets a line on standard error, with --json an object
    with its `error`, and the exit code is 2.
    """
    from lig_core.loading.describe import describe_boundaries

    described: list[dict[str, Any]] = []
    with _errors_in_one_line():
        for model in models:
            try:
                described.append(describe_boundaries(model, device=device, load_weights=weights))
            except LigError as error:
                described.append({"model": model, "error": error.as_dict()})
    failed = [row for row in described if "error" in row]
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    elif len(failed) < len(described):
        from rich.console import Console

        Console().print(_table([row for row in described if "error" not in row]))
    for row in failed:
        _say(row["error"]["detail"])
    if failed:
        raise SystemExit(FAILED)


def _table(described: Iterable[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table("model", "type", "layers", "layout", "maps", "u", "how it is known")
    for row in described:
        table.add_row(
            row["model"],
            row["model_type"],
            str(row["num_layers"]),
            row["layout"],
            " ".join(row["supported_granularity"]) or "unknown",
            row["nodes"]["u"],
            "; ".join([row["detection"], *row["notes"]]),
        )
    return table


def _explain_here(request: ExplainRequest, device: str | None, report: Report) -> dict[str, Any]:
    from lig_core.contract import Progress
    from lig_core.models.catalog import check_against_model, find_model

    card = find_model(request.model)
    request = request.named(card.name)
    check_against_model(request, card)
    report(Progress(phase="loading", done=0, total=0, unit="layers"))
    from lig_core.loading.loaded import load_model
    from lig_core.method import run

    return run(request, load_model(card, device=device, dtype=request.dtype), progress=report)


def _explain_there(request: ExplainRequest, client: Client, output: Path | None) -> None:
    from lig_core.client import require_success
    from lig_core.client.files import FORMATS_OF_BYTES, layers_in
    from lig_core.progress_bar import progress_bar

    job = client.submit(request)
    try:
        with progress_bar() as report:
            job = client.wait(job["id"], on_progress=report)
    except KeyboardInterrupt:
        _cancel(job, client)
    require_success(job)
    if output is not None and output.suffix in (*FORMATS_OF_BYTES, ".html"):
        if output.suffix == ".html":  # the service makes the page: here may be none of what it takes
            output.write_bytes(client.result(job["id"], format="html"))
            _say_written(output, job["progress"]["total"])
        else:
            client.download(job["id"], output)
            _say_written(output, layers_in(output))
        missed = f"columns of the result missed rtol {request.rtol:g}; `unconverged` in {output} tells where"
        _tell_unconverged(request, missed if job.get("converged") is False else None)
    else:
        result = client.result(job["id"])
        _write(result, output)
        _tell_unconverged(request, complaint(result))


def _tell_unconverged(request: ExplainRequest, warning: str | None) -> None:
    if warning is not None and request.on_unconverged == "warn":
        _say(warning)


def _cancel(job: Job, client: Client) -> Never:
    try:
        client.cancel(job["id"])
    except LigError as error:
        message = f"job {job['id']} was not cancelled: {error.detail}"
    else:
        message = f"cancelled job {job['id']}"
    _say(message)
    raise SystemExit(INTERRUPTED)


def _write(result: dict[str, Any], output: Path | None) -> None:
    if output is None:
        sys.stdout.buffer.write(_json(result))
        return
    from lig_core.client.files import FORMATS_OF_BYTES

    suffix = output.suffix
    if suffix == ".html":
        from lig_core.result.viewer.page import render_page

        output.write_text(render_page(orjson.loads(_json(result))), encoding="utf-8")
    elif suffix in FORMATS_OF_BYTES:
        from lig_core.result.formats import FORMATS
        from lig_core.result.read import from_document

        head, layers = from_document(result)
        with output.open("wb") as file:
            file.writelines(FORMATS[suffix[1:]].write(head, list(layers)))
    else:
        output.write_bytes(_json(result))
    _say_written(output, len(result["layers"]))


def _say_written(output: Path, layers: int) -> None:
    size = output.stat().st_size
    typer.echo(f"lig: wrote {output}: {size:,} bytes, {layers} layer{'' if layers == 1 else 's'}", err=True)


def _json(result: dict[str, Any]) -> bytes:
    return orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _one_of(option: str, value: str, known: Sequence[str]) -> Any:
    if value not in known:
        raise typer.BadParameter(f"{option} is one of {', '.join(known)}; got {value!r}")
    return value


def _range(option: str, value: str | None) -> tuple[int, int | None]:
    if value is None:
        return 0, None
    start, colon, end = value.partition(":")
    if not colon or not all(part == "" or part.isdecimal() for part in (start, end)):
        raise typer.BadParameter(f"{option} takes a range such as 0:100; got {value!r}")
    return int(start or 0), int(end) if end else None


def _integers(option: str, value: str | None) -> list[int] | None:
    if value is None:
        return None
    try:
        return [int(part) for part in value.split(",") if part.strip()]
    except ValueError:
        raise typer.BadParameter(f"{option} takes integers separated by commas, such as 0,5; got {value!r}") from None


def _listed_tokens(value: str | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise typer.BadParameter(
            f"""--tokens takes a JSON list, such as '["[CLS]", "the", "cat", "[SEP]"]'; got {value!r}"""
        ) from None


@contextmanager
def _errors_in_one_line() -> Iterator[None]:
    try:
        yield
    except LigError as error:
        unconverged = error.as_dict().get("code") == NotConverged.code
        _fail(error.detail, UNCONVERGED if unconverged else FAILED)
    except typer.BadParameter as error:
        _fail(error.message)
    except ModuleNotFoundError as error:
        if error.name not in COMPUTING:
            raise
        _fail(
            f"{error.name} is not installed, and computing here needs it; run: pip install 'lig-service[core]', "
            "or name a service with --server"
        )
    except OSError as error:
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error))


def _fail(message: str, code: int = FAILED) -> Never:
    _say(message)
    raise SystemExit(code)


def _say(message: str) -> None:
    typer.echo(f"lig: {' '.join(message.split())}", err=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command, with what other installed packages add to it; absent: with the process's arguments.

    A command imports what it needs when it runs.
    """
    for point in entry_points(group="lig.commands"):
        try:
            command = point.load()
        except ModuleNotFoundError:  # that package of ours is not here: no such command then
            continue
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=point.name)
        else:
            app.command(name=point.name)(command)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=list(arguments))
    except ModuleNotFoundError as error:
        package, command = (error.name or "").partition(".")[0], next(iter(arguments), "")
        if package in {"", *OWN_PACKAGES}:
            raise
        remedy = f"pip install 'lig-service[{EXTRAS.get(command, 'api')}]'"
        _fail(f"{package} is not installed, and lig {command} needs it; run: {remedy}")


if __name__ == "__main__":
    main()
