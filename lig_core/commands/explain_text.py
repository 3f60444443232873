"""`lig explain`: here, or on a service."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Never

import typer

from lig_core.commands.terminal import INTERRUPTED, errors_in_one_line, say, say_written
from lig_core.commands.values import ApiKey, Server, Threads, integers, listed_tokens
from lig_core.errors import LigError
from lig_core.result.plain.text import json_file
from lig_core.result.unconverged import complaint
from lig_core.threads import set_threads

if TYPE_CHECKING:
    from lig_core.client import Client, Job
    from lig_core.contract import ExplainRequest, Progress

Report = Callable[["Progress"], None]


def explain(
    text: Annotated[str | None, typer.Argument(help="The text to explain.")] = None,
    tokens: Annotated[
        str | None, typer.Option(help="In place of the text: tokens as a result has them, as a JSON list.")
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="minilm, smollm2, a Hugging Face id[@revision], or a folder of this machine; with --server, in place "
            "of a folder its name inside the service's models folder."
        ),
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
    threads: Threads = None,
    server: Server = None,
    api_key: ApiKey = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="File to write: .json, .ndjson, .npz, .safetensors, or .html for a page to look at."
        ),
    ] = None,
) -> None:
    """Explain one text.

    JSON goes to standard output or to a file.
    """
    with errors_in_one_line():
        from lig_core.client.files import format_of
        from lig_core.config import plain_options
        from lig_core.contract import parse_request

        if output is not None:
            format_of(output)  # refused now, and not when all is computed
        options = plain_options(
            {
                "text": text,
                "tokens": listed_tokens(tokens),
                "model": model,
                "num_steps": steps,
                "granularity": [part.strip() for part in granularity.split(",") if part.strip()],
                "layers": integers("--layers", layers),
                "target_tokens": integers("--target-tokens", target_tokens),
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
            from lig_core.commands.progress_bar import progress_bar

            with progress_bar() as report:
                result = _explain_here(request, device, threads, report)
            write_result(result, output)
            _tell_unconverged(request, complaint(result))
        else:
            from lig_core.client import Client

            with Client(server, api_key=api_key) as client:
                _explain_there(request, client, output)


def _explain_here(request: ExplainRequest, device: str | None, threads: int | None, report: Report) -> dict[str, Any]:
    from lig_core.contract import Progress
    from lig_core.models.catalog import check_against_model, find_model

    card = find_model(request.model)
    request = request.named(card.name)
    check_against_model(request, card)
    report(Progress(phase="loading", done=0, total=0, unit="layers"))
    set_threads(threads)
    from lig_core.loading.loaded import load_model
    from lig_core.method import run

    return run(request, load_model(card, device=device, dtype=request.dtype), progress=report)


def _explain_there(request: ExplainRequest, client: Client, output: Path | None) -> None:
    from lig_core.client import require_success
    from lig_core.client.files import FORMATS_OF_BYTES, document_in, layers_in
    from lig_core.commands.progress_bar import progress_bar

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
            say_written(output, job["progress"]["total"])
        else:
            client.download(job["id"], output)
            say_written(output, layers_in(output))
        missed = f"columns of the result missed rtol {request.rtol:g}; `unconverged` in {output} tells where"
        _tell_unconverged(request, missed if job.get("converged") is False else None)
    else:
        with TemporaryDirectory(prefix="lig-") as folder:
            result = document_in(client.download(job["id"], Path(folder) / "result.ndjson"))  # indented layer by layer
            write_result(result, output)
        _tell_unconverged(request, complaint(result))


def _tell_unconverged(request: ExplainRequest, warning: str | None) -> None:
    if warning is not None and request.on_unconverged == "warn":
        say(warning)


def _cancel(job: Job, client: Client) -> Never:
    try:
        client.cancel(job["id"])
    except LigError as error:
        message = f"job {job['id']} was not cancelled: {error.detail}"
    else:
        message = f"cancelled job {job['id']}"
    say(message)
    raise SystemExit(INTERRUPTED)


def write_result(result: Mapping[str, Any], output: Path | None) -> None:
    """Write a result in the format that the name asks for, or as JSON to standard output; say which file."""
    if output is None:
        sys.stdout.buffer.writelines(json_file(result))
        return
    if output.suffix == ".json":  # here may be none of what the others take
        with output.open("wb") as file:
            file.writelines(json_file(result))
    else:
        from lig_core.result.saved import save_result

        save_result(result, output)
    say_written(output, len(result["layers"]))
