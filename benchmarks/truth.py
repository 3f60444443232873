"""Certificates against the truth: `make truth SEED=n`. Writes benchmarks/truth.json and .md; 1 if one is false.

A column is one target of one map (in `att` of one head) of one layer, at one text, from one baseline. Columns are drawn
from the seed, by kinds (see KINDS and `population`), and computed as the product does, in float32. Each is judged
against the integral of the same block at the same z, in float64, by a rule that shares nothing with the adaptive one
(`reference`). Its error is Σ_i |value_i − truth_i| over Σ_i |truth_i|; it is wrong above WRONG. `certified` is what a
result calls converged.

Where a reference does not agree with itself the column is counted as having none. One request in ROUNDED is also
integrated at the z of a forward pass in float64, which says how far rounding of z moves its columns; at one in PLAIN
layer maps the reference's rates are compared with plain automatic differentiation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.population import (
    Subject,
    adversarial,
    any_family,
    experts,
    kinked,
    ordinary,
    real,
    rounded,
    scaled,
    scaled_tiny,
    small_epsilon,
    tiny_text,
    with_epsilon,
)
from benchmarks.reference import AGREEMENT, Reference
from lig_core.blocks.capture import BlockCall
from lig_core.contract import ExplainRequest, parse_request
from lig_core.errors import LigError
from lig_core.maps.tensors import LayerMaps
from lig_core.method import explain_layer, quadrature_for
from lig_core.quadrature import Adaptive, Attribution, Quadrature
from tests.models.brute_force import Truth, path_integral

HERE = Path(__file__).parent
WRONG, DOUBTFUL = 1e-2, 3e-3
ROUNDED, PLAIN = 12, 15
PLAIN_NODES = (1e-4, 0.03, 0.3, 0.7, 0.97)
MOST_BARREN = 5
"""Models in a row that give no column before their kind is given up."""
Texts = Callable[[random.Random, int], str]


@dataclass(frozen=True)
class Kind:
    """A share of the population: how a model is drawn, how a text is, and of how many words."""

    subject: Callable[[random.Random], Subject]
    text: Texts
    share: float
    words: tuple[int, int] = (3, 40)
    streams: int = 2  # that are drawn apart, so that processes can share them
    texts_a_subject: int = 4


def kinds(decoder: str) -> dict[str, Kind]:
    """The population; `decoder` is the name or folder of the bundled decoder."""

    def minilm(_: random.Random) -> Subject:
        return real("minilm")

    def smollm2(_: random.Random) -> Subject:
        return real(decoder)

    def either(drawn: random.Random) -> Subject:
        return real(drawn.choice(["minilm", decoder]))

    return {
        "minilm, ordinary": Kind(minilm, ordinary, 0.15),
        "smollm2, ordinary": Kind(smollm2, ordinary, 0.13),
        "minilm, adversarial": Kind(minilm, adversarial, 0.08),
        "smollm2, adversarial": Kind(smollm2, adversarial, 0.11),
        "minilm, 128-500 words": Kind(minilm, ordinary, 0.03, (110, 380), 1),
        "smollm2, 128-500 words": Kind(smollm2, ordinary, 0.03, (110, 400), 1),
        "minilm, q and k scaled": Kind(lambda drawn: scaled(real("minilm"), drawn), ordinary, 0.09),
        "smollm2, q and k scaled": Kind(lambda drawn: scaled(real(decoder), drawn), ordinary, 0.06, streams=1),
        "tiny, q and k scaled": Kind(scaled_tiny, tiny_text, 0.05),
        "16-bit checkpoints": Kind(lambda drawn: rounded(either(drawn), drawn), ordinary, 0.06, streams=1),
        "real, another norm ε": Kind(lambda drawn: with_epsilon(either(drawn), drawn), ordinary, 0.04, streams=1),
        "tiny, norm ε 1e-12..1e-5": Kind(small_epsilon, tiny_text, 0.05),
        "tiny, ReLU": Kind(kinked, tiny_text, 0.05),
        "tiny, experts": Kind(experts, tiny_text, 0.04),
        "tiny, any family": Kind(any_family, tiny_text, 0.05),
    }


@dataclass(frozen=True)
class Column:
    """A column that is judged. `moved`: by rounding of z, NaN where that is not known."""

    kind: str
    map: str
    baseline: str
    target: int
    head: int | None
    status: str
    certified: bool
    reference: bool
    error: float
    entry_error: float | None
    completeness_error: float | None
    nodes: int | None
    rtol: float
    subject: str
    layer: int
    tokens: int
    request: dict[str, Any]
    moved: float | None = None
    cause: str | None = None


@dataclass
class Found:
    """What one stream found."""

    columns: list[Column] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    plain: list[float] = field(default_factory=list)
    seconds: float = 0.0


MAPS: tuple[tuple[int, dict[str, Any]], ...] = (
    (4, {"granularity": "layer", "baseline_layer": "zero"}),
    (4, {"granularity": "layer", "baseline_layer": "self_input_token"}),
    (1, {"granularity": "layer", "baseline_layer": "itb_zero_ratio"}),
    (2, {"granularity": "att", "baseline_att": "zero"}),
    (2, {"granularity": "att", "baseline_att": "self_input_token"}),
    (1, {"granularity": "att", "baseline_att": "itb_zero_ratio"}),
    (1, {"granularity": "att", "baseline_att": "itb_map_ratio"}),
    (2, {"granularity": "mlp", "baseline_mlp": "zero"}),
    (1, {"granularity": "mlp", "baseline_mlp": "zero", "include_residual_connection": False}),
    (2, {"granularity": "mlp", "baseline_mlp": "att_itb_a0"}),
    (1, {"granularity": "mlp", "baseline_mlp": "zero", "u_node": "heads"}),
    (1, {"granularity": "mlp", "baseline_mlp": "att_itb_a0", "u_node": "heads"}),
    (1, {"granularity": "composed"}),
)
FEW = {"att": 3, "composed": 3, "mlp": 8, "layer": 8}
"""Targets of a request."""


def stream(name: str, kind: Kind, seed: int, number: int, quota: int) -> Found:
    """Columns of one kind, until there are as many as the quota."""
    torch.set_num_threads(1)
    drawn = random.Random(f"{seed}/{name}/{number}")
    found, started = Found(), time.monotonic()
    barren = 0
    while len(found.columns) < quota and barren < MOST_BARREN:
        subject, before = kind.subject(drawn), len(found.columns)
        for _ in range(kind.texts_a_subject):
            if len(found.columns) >= quota:
                break
            text = kind.text(drawn, drawn.randint(*kind.words))
            try:
                found.columns += explained(name, subject, text, drawn, found)
            except Exception as error:  # the program's own fault; the others are judged all the same
                traceback.print_exc()
                found.refused[f"failed: {type(error).__name__}"] += 1
        barren = 0 if len(found.columns) > before else barren + 1
        found.seconds = time.monotonic() - started
        wrong = sum(c.certified and c.reference and c.error > WRONG for c in found.columns)
        print(
            f"{name} {number}: {len(found.columns)} of {quota} columns, {wrong} certified wrong, {found.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return found


def explained(kind: str, subject: Subject, text: str, drawn: random.Random, found: Found) -> Iterator[Column]:
    """The judged columns of some maps of two layers at one text."""
    single, double = subject.single, subject.double
    try:
        encoded = single.encode([text])
    except LigError as error:
        found.refused[error.code] += 1
        return
    tokens = len(encoded.texts[0].tokens)
    with single.computing():
        (calls,) = single.capture(encoded.inputs)
    exact: list[BlockCall] | None = None
    for layer in drawn.sample(subject.layers, min(2, len(subject.layers))):
        wide = None
        for options in drawn.choices([x for _, x in MAPS], [weight for weight, _ in MAPS], k=3):
            targets = sorted(drawn.sample(range(tokens), min(tokens, FEW[options["granularity"]])))
            rtol = drawn.choices([1e-3, 1e-2, 1e-4], [8, 1, 1])[0]
            check_rounding, check_plain = drawn.random() < 1 / ROUNDED, drawn.random() < 1 / PLAIN
            request = parse_request(
                {"text": text, "model": single.card.name, "layers": [layer], "target_tokens": targets, "rtol": rtol}
                | options
            )
            quadrature = quadrature_for(request)
            try:
                with single.computing():
                    maps = integrated(single, layer, calls[layer], request, quadrature)
            except LigError as error:
                found.refused[error.code] += 1
                continue
            with double.computing():
                wide = wide or subject.in_double(layer, calls[layer])
                try:
                    truth = integrated(double, layer, wide, request, Reference())
                except LigError as error:
                    found.refused[f"reference: {error.code}"] += 1
                    continue
                moved = None
                if check_rounding or (check_plain and request.granularity == "layer"):
                    if exact is None:
                        (exact,) = double.capture(encoded.inputs)
                    if check_rounding:
                        moved = integrated(double, layer, exact[layer], request, Reference())
            if check_plain and request.granularity == "layer" and tokens <= 24 and exact is not None:
                found.plain.append(against_plain(subject, encoded.inputs, layer, exact[layer], request))
            columns = list(judged(kind, subject, layer, tokens, request, maps, truth, moved))
            if any(c.certified and c.reference and c.error > DOUBTFUL for c in columns):
                with double.computing():
                    precise = integrated(double, layer, wide, request, quadrature)
                columns = with_causes(columns, errors_of(rows(precise), rows(truth)))
            yield from columns


def integrated(model: Any, layer: int, call: BlockCall, request: ExplainRequest, quadrature: Quadrature) -> LayerMaps:
    targets = torch.tensor(request.target_tokens)
    return explain_layer(model.integrator(layer, call, targets, quadrature), request)


@dataclass(frozen=True)
class Row:
    """One column of a result or a reference."""

    map: str
    target: int
    head: int | None
    values: Tensor
    total: float
    status: str
    converged: bool
    entry_error: float | None
    completeness_error: float | None
    nodes: int | None


def rows(maps: LayerMaps) -> list[Row]:
    """The columns of what was computed, in an order of their own."""
    found: list[Row] = []
    if maps.layer is not None:
        found += _rows("layer", maps.layer.attribution)
    if maps.att is not None:
        found += _rows("att", maps.att.attribution, maps.att.heads)
    if maps.mlp is not None:
        found += _rows("mlp", maps.mlp.attribution)
    if maps.composed is not None:
        both = (("product", maps.composed.product), ("conserving", maps.composed.conserving))
        for name, values in both:
            for k, (column, converged) in enumerate(zip(values, maps.composed.converged.tolist(), strict=True)):
                label = f"composed, {name}"
                found.append(Row(label, k, None, column, float(column.sum()), "composed", converged, None, None, None))
    return found


def _rows(name: str, attribution: Attribution, heads: Sequence[int] = ()) -> list[Row]:
    entry = getattr(attribution, "entry_error", None)
    width = max(len(heads), 1)
    return [
        Row(
            name,
            k // width,
            heads[k % width] if heads else None,
            attribution.values[k],
            float(attribution.total[k]),
            attribution.status[k],
            bool(attribution.converged[k]),
            None if entry is None else float(entry[k]),
            float(attribution.completeness_error[k]),
            int(attribution.nodes[k]),
        )
        for k in range(len(attribution.values))
    ]


def error_of(row: Row, truth: Row, largest: float) -> float:
    """Σ_i |value_i − truth_i|, relative to what the column's status promises; 0 where both are 0.

    To Σ_i |truth_i|; of a `noise_limited` column to the largest total of its map, which is what it has converged by; of
    a `zero_path`, on which nothing is said to move but rounding, to a thousandth of that (WRONG is 1e-5 of it then).
    """
    missed = float((row.values - truth.values).abs().sum())
    if missed == 0 or row.status == truth.status == "zero_path":
        return 0.0
    promised = {"noise_limited": largest, "zero_path": 1e-3 * largest}
    size = max(float(truth.values.abs().sum()), promised.get(row.status, 0.0))
    return missed / size if size > 0 else float("inf")


def errors_of(found: list[Row], truth: list[Row]) -> list[float]:
    """The error of each row, by its map's largest total."""
    largest = {each.map: max(row.total for row in truth if row.map == each.map) for each in truth}
    return [error_of(row, right, largest[right.map]) for row, right in zip(found, truth, strict=True)]


def _moves(moved: list[Row], truth: list[Row]) -> list[float | None]:
    return [error if row.converged else None for row, error in zip(moved, errors_of(moved, truth), strict=True)]


def judged(
    kind: str,
    subject: Subject,
    layer: int,
    tokens: int,
    request: ExplainRequest,
    maps: LayerMaps,
    truth: LayerMaps,
    moved: LayerMaps | None,
) -> Iterator[Column]:
    assert request.target_tokens is not None
    name = str(request.granularity)
    baseline = {"att": request.baseline_att, "mlp": request.baseline_mlp}.get(name, request.baseline_layer)
    if name == "mlp":
        baseline += "" if request.u_node == "residual" else ", heads"
        baseline += "" if request.include_residual_connection else ", no bypass"
    known = rows(truth)
    errors = errors_of(rows(maps), known)
    moves = [None] * len(known) if moved is None else _moves(rows(moved), known)
    for row, right, error, move in zip(rows(maps), known, errors, moves, strict=True):
        yield Column(
            kind=kind,
            map=row.map,
            baseline=baseline,
            target=request.target_tokens[row.target],
            head=row.head,
            status=row.status,
            certified=row.converged,
            reference=right.converged,
            error=error,
            entry_error=row.entry_error,
            completeness_error=row.completeness_error,
            nodes=row.nodes,
            rtol=request.rtol,
            subject=subject.name,
            layer=layer,
            tokens=tokens,
            request=request.model_dump(mode="json", exclude_defaults=True, exclude={"model"}),
            moved=move if right.converged else None,
        )


def with_causes(columns: Sequence[Column], in_double: Sequence[float]) -> list[Column]:
    """Whether the same rule in float64 has the error as well (`quadrature`) or not (`rounding`)."""
    return [
        replace(c, cause="rounding" if precise < c.error / 3 else "quadrature")
        for c, precise in zip(columns, in_double, strict=True)
    ]


def against_plain(subject: Subject, inputs: Any, layer: int, call: BlockCall, request: ExplainRequest) -> float:
    """Largest difference of a layer map's rates from plain automatic differentiation of Hugging Face's own layer.

    At a few nodes, for one target, in float64, relative to the largest entry.
    """
    double = subject.double
    target = (request.target_tokens or [0])[-1]
    zero = request.baseline_layer == "zero"
    nodes = torch.tensor(PLAIN_NODES, dtype=torch.float64)
    weights = torch.linspace(1, 2, len(nodes), dtype=torch.float64)
    with double.computing():
        integrand, _ = double.integrator(layer, call, torch.tensor([target]), Adaptive()).layer_integrand(zero=zero)
        mine = integrand.accumulate(nodes, torch.tensor([0]), weights[None]).weighted[0, 0]
    implementation = double.model.config._attn_implementation
    double.model.set_attn_implementation("eager")
    try:
        plain = Truth(double.model, call.module, "", inputs, layer if _is_shared(subject) else 0)
        start = plain.start("zero" if zero else "itb", target)
        theirs = path_integral(lambda z: plain.run(z)[target], start, plain.z, nodes, weights).sum(-1)
    finally:
        double.model.set_attn_implementation(implementation)
    return float((mine - theirs).abs().max() / theirs.abs().max())


def _is_shared(subject: Subject) -> bool:
    """Whether one module serves as every layer, as in ALBERT."""
    wirings = [facts.wiring for facts in subject.double.facts if facts.wiring is not None]
    return len(wirings) > 1 and wirings[0].block is wirings[1].block


def report(seed: int, found: dict[str, list[Found]], options: dict[str, Any]) -> dict[str, Any]:
    everything = [column for streams in found.values() for part in streams for column in part.columns]
    plain = [error for streams in found.values() for part in streams for error in part.plain]
    refused = sum((part.refused for streams in found.values() for part in streams), Counter[str]())
    certified = [c for c in everything if c.certified and c.reference]
    by_map: dict[str, list[Column]] = {}
    for column in sorted(everything, key=lambda c: (c.map, c.baseline)):
        by_map.setdefault(f"{column.map}, {column.baseline}", []).append(column)
    return {
        "seed": seed,
        **options,
        "columns": len(everything),
        "certified_wrong": sum(c.error > WRONG for c in certified),
        "certified_doubtful": sum(c.error > DOUBTFUL for c in certified),
        "refused": dict(refused),
        "plain": {"compared": len(plain), "worst": max(plain, default=None)},
        "by_kind": {
            kind: row([c for part in streams for c in part.columns], sum(part.seconds for part in streams))
            for kind, streams in found.items()
        },
        "by_map": {name: row(columns) for name, columns in by_map.items()},
        "by_rtol": {f"{rtol:g}": row([c for c in everything if c.rtol == rtol]) for rtol in (1e-2, 1e-3, 1e-4)},
        "all": row(everything),
        "wrong": [asdict(c) for c in sorted(certified, key=lambda c: -c.error) if c.error > DOUBTFUL],
        "flagged_right_on_ordinary_text": [
            asdict(c)
            for c in everything
            if not c.certified and c.reference and c.error <= WRONG and c.kind.endswith(", ordinary")
        ][:40],
    }


def row(columns: Sequence[Column], seconds: float | None = None) -> dict[str, Any]:
    """Counts of some columns; `certified` by the status beside it."""
    known = [c for c in columns if c.reference]
    certified: dict[str, dict[str, int]] = {}
    for status in sorted({c.status for c in known if c.certified}):
        errors = [c.error for c in known if c.certified and c.status == status]
        certified[status] = {
            "right": sum(e <= WRONG for e in errors),
            "wrong": sum(e > WRONG for e in errors),
            "doubtful": sum(e > DOUBTFUL for e in errors),
        }
    flagged = [c.error for c in known if not c.certified]
    nodes = [c.nodes for c in columns if c.nodes is not None and c.status != "zero_path"]
    moved = sorted(c.moved for c in columns if c.moved is not None)
    return {
        "columns": len(columns),
        "no_reference": len(columns) - len(known),
        "certified": certified,
        "flagged_right": sum(e <= WRONG for e in flagged),
        "flagged_wrong": sum(e > WRONG for e in flagged),
        "mean_nodes": sum(nodes) / len(nodes) if nodes else None,
        "moved_by_rounding_of_z": {
            "columns": len(moved),
            "median": moved[len(moved) // 2],
            "p99": moved[int(0.99 * len(moved))],
            "worst": moved[-1],
        }
        if moved
        else None,
        "seconds": seconds,
    }


def table(found: dict[str, Any]) -> str:
    lines = [
        "# Certificates against the truth",
        "",
        f"Seed {found['seed']}: {found['columns']} columns, float32, judged in float64 at the same z by a rule that "
        f"has nothing of the adaptive one; wrong: an L1 error above {WRONG:g} of the column's L1. Certified are "
        f"{found['certified_wrong']} wrong columns, and {found['certified_doubtful']} with an error above "
        f"{DOUBTFUL:g}. Where halves of the reference differ by more than {AGREEMENT:g} there is none. Its rates "
        f"differ from plain automatic differentiation by {found['plain']['worst'] or 0:.1e} at most, in "
        f"{found['plain']['compared']} columns. Moved: by rounding of z, as a share of the column, in a sample; no "
        "certificate is about it.",
        "",
    ]
    for title, key in (("kind", "by_kind"), ("map, baseline", "by_map"), ("rtol", "by_rtol")):
        lines += [
            f"| {title} | columns | certified right: ok, noise_limited, other | certified wrong: likewise "
            f"| > {DOUBTFUL:g} | flagged right | flagged wrong | no reference | nodes | moved: median, worst |",
            "|" + "---|" * 10,
        ]
        lines += [_line(name, counts) for name, counts in [*found[key].items(), ("all", found["all"])]]
        lines.append("")
    if found["wrong"]:
        lines += [
            f"## Certified, with an error above {DOUBTFUL:g}",
            "",
            "| error | entry_error | status | cause | kind | map | layer, target | rtol | nodes | tokens | subject |",
            "|" + "---|" * 11,
        ]
        lines += [_wrong(column) for column in found["wrong"][:60]]
    return "\n".join(lines).rstrip() + "\n"


def _line(name: str, counts: dict[str, Any]) -> str:
    def split(key: str) -> str:
        certified = {status: each[key] for status, each in counts["certified"].items()}
        ok, hidden = certified.pop("ok", 0), certified.pop("noise_limited", 0)
        return f"{ok}, {hidden}, {sum(certified.values())}"

    doubtful = sum(each["doubtful"] for each in counts["certified"].values())
    nodes = "" if counts["mean_nodes"] is None else f"{counts['mean_nodes']:.1f}"
    moved = counts["moved_by_rounding_of_z"]
    moves = "" if moved is None else f"{moved['median']:.1e}, {moved['worst']:.1e}"
    return (
        f"| {name} | {counts['columns']} | {split('right')} | {split('wrong')} | {doubtful} | "
        f"{counts['flagged_right']} | {counts['flagged_wrong']} | {counts['no_reference']} | {nodes} | {moves} |"
    )


def _wrong(c: dict[str, Any]) -> str:
    entry = "" if c["entry_error"] is None else f"{c['entry_error']:.1e}"
    head = "" if c["head"] is None else f", head {c['head']}"
    return (
        f"| {c['error']:.1e} | {entry} | {c['status']} | {c['cause']} | {c['kind']} | {c['map']}, {c['baseline']} | "
        f"{c['layer']}, {c['target']}{head} | {c['rtol']:g} | {c['nodes']} | {c['tokens']} | {c['subject']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of the population; drawn where there is none")
    parser.add_argument("--columns", type=int, default=10_500, help="of all kinds together, or a few more")
    parser.add_argument("--kinds", nargs="*", default=None, help="those whose names contain one of these words")
    parser.add_argument("--smollm2", default="smollm2", help="the bundled decoder, or a folder that has it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=HERE / "truth", help="where .json and .md go")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    population = kinds(asked.smollm2)
    chosen = {
        name: kind
        for name, kind in population.items()
        if asked.kinds is None or any(word in name for word in asked.kinds)
    }
    print(f"seed {seed}, {asked.columns} columns, {', '.join(chosen)}", file=sys.stderr, flush=True)
    started = time.monotonic()
    found: dict[str, list[Found]] = {name: [] for name in chosen}
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        waiting = [
            (name, pool.apply_async(_stream, (name, asked.smollm2, seed, number, quota)))
            for name, kind in sorted(chosen.items(), key=lambda item: "smollm2" not in item[0])
            for number in range(kind.streams)
            for quota in [max(1, round(asked.columns * kind.share / kind.streams))]
        ]
        for name, part in waiting:
            found[name].append(part.get())
            options = {"smollm2": asked.smollm2, "torch": torch.__version__, "seconds": time.monotonic() - started}
            written = report(seed, found, options)  # as far as it has come
            asked.out.with_suffix(".json").write_text(json.dumps(written, indent=1) + "\n")
            asked.out.with_suffix(".md").write_text(table(written))
    print(table(written))
    for column in written["wrong"]:
        if column["error"] > WRONG:
            print(json.dumps(column))
    sys.exit(bool(written["certified_wrong"] or any(why.startswith("failed") for why in written["refused"])))


def _stream(name: str, decoder: str, seed: int, number: int, quota: int) -> Found:
    return stream(name, kinds(decoder)[name], seed, number, quota)


if __name__ == "__main__":
    main()
