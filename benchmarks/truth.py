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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks import population
from benchmarks.judgement import DOUBTFUL, WRONG, Column, Found, errors_of, judged, rows, with_causes
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
from benchmarks.reference import Reference
from benchmarks.truth_report import report, table
from lig_core.blocks.capture import BlockCall
from lig_core.contract import ExplainRequest, parse_request
from lig_core.errors import LigError
from lig_core.maps.tensors import LayerMaps
from lig_core.method import explain_layer, quadrature_for
from lig_core.quadrature import Adaptive, Quadrature
from lig_core.quadrature.integrand import rounding_floor
from tests.models.brute_force import Truth, path_integral

HERE = Path(__file__).parent
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
    on_cpu = single.device.type == "cpu"  # plain automatic differentiation is compared there alone
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
            if check_plain and request.granularity == "layer" and tokens <= 24 and exact is not None and on_cpu:
                difference = against_plain(subject, encoded.inputs, layer, exact[layer], request)
                found.plain += [] if difference is None else [difference]
            columns = list(judged(kind, subject, layer, tokens, request, maps, truth, moved))
            if any(c.certified and c.reference and c.error > DOUBTFUL for c in columns):
                with double.computing():
                    precise = integrated(double, layer, wide, request, quadrature)
                columns = with_causes(columns, errors_of(rows(precise), rows(truth)))
            yield from columns


def integrated(model: Any, layer: int, call: BlockCall, request: ExplainRequest, quadrature: Quadrature) -> LayerMaps:
    targets = torch.tensor(request.target_tokens)
    return explain_layer(model.integrator(layer, call, targets, quadrature), request)


def against_plain(subject: Subject, inputs: Any, layer: int, call: BlockCall, request: ExplainRequest) -> float | None:
    """Largest difference of a layer map's rates from plain automatic differentiation of Hugging Face's own layer.

    At a few nodes, for one target, in float64, relative to the largest entry; None where nothing but rounding moves.
    """
    double = subject.double
    target = (request.target_tokens or [0])[-1]
    zero = request.baseline_layer == "zero"
    nodes = torch.tensor(PLAIN_NODES, dtype=torch.float64)
    weights = torch.linspace(1, 2, len(nodes), dtype=torch.float64)
    with double.computing():
        integrand = double.integrator(layer, call, torch.tensor([target]), Adaptive()).layer_integrand(zero=zero)
        total = integrand.totals().numpy()
        if (total <= rounding_floor(integrand, total)).all():
            return None
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=None, help="of the population; drawn where there is none")
    parser.add_argument("--columns", type=int, default=10_500, help="of all kinds together, or a few more")
    parser.add_argument("--kinds", nargs="*", default=None, help="those whose names contain one of these words")
    parser.add_argument("--smollm2", default="smollm2", help="the bundled decoder, or a folder that has it")
    parser.add_argument("--device", default="cpu", help="cpu or cuda: of what is judged, and of references")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--streams", type=int, help="of every kind, for many processes; another number draws others")
    parser.add_argument("--out", type=Path, default=HERE / "truth", help="where .json and .md go")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    all_kinds = kinds(asked.smollm2)
    chosen = {
        name: kind
        for name, kind in all_kinds.items()
        if asked.kinds is None or any(word in name for word in asked.kinds)
    }
    print(f"seed {seed}, {asked.columns} columns, {', '.join(chosen)}", file=sys.stderr, flush=True)
    started = time.monotonic()
    found: dict[str, list[Found]] = {name: [] for name in chosen}
    with multiprocessing.get_context("spawn").Pool(asked.processes) as pool:
        waiting = [
            (name, pool.apply_async(_stream, (name, asked.smollm2, asked.device, seed, number, quota)))
            for name, kind in sorted(chosen.items(), key=lambda item: "smollm2" not in item[0])
            for streams in [asked.streams or kind.streams]
            for number in range(streams)
            for quota in [max(1, round(asked.columns * kind.share / streams))]
        ]
        for name, part in waiting:
            found[name].append(part.get())
            options = {
                "smollm2": asked.smollm2,
                "streams": asked.streams,
                "device": asked.device,
                "torch": torch.__version__,
                "seconds": time.monotonic() - started,
            }
            written = report(seed, found, options)  # as far as it has come
            asked.out.with_suffix(".json").write_text(json.dumps(written, indent=1) + "\n")
            asked.out.with_suffix(".md").write_text(table(written))
    print(table(written))
    for column in written["wrong"]:
        if column["error"] > WRONG:
            print(json.dumps(column))
    sys.exit(bool(written["certified_wrong"] or any(why.startswith("failed") for why in written["refused"])))


def _stream(name: str, decoder: str, device: str, seed: int, number: int, quota: int) -> Found:
    population.DEVICE = device
    return stream(name, kinds(decoder)[name], seed, number, quota)


if __name__ == "__main__":
    main()
