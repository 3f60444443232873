"""The numerical core against the authors' library and against the physical floor: `make bench`.

Both libraries get the same hidden states of the same model, in one run, in turn, with the same number of
threads; the authors' library runs in a virtual environment of its own that this script makes. Writes
benchmarks/core.json, core.md and core.png.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cases import LAYER, Case, bert_base, case, minilm
from benchmarks.floor import floor
from benchmarks.sides import Ask, side
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.quadrature import Adaptive, Attribution, Quadrature
from tests.support.captum_trapezoid import RiemannTrapezoid, riemann_trapezoid

HERE = Path(__file__).parent
PEER_VENV = HERE.parent / ".venv-peer"
PEER_PACKAGES = ("torch==2.13.0", "layer-wise-integrated-gradients==0.1.0")
STEPS = 32
THREADS = 2
REPEATS = 3
PEER_COLUMNS = {9: 6, 41: 4, 128: 2, 512: 1}
"""How many columns of the authors' library are timed; the rest are assumed to take as long."""
MAPS = (
    ("layer", "zero"),
    ("layer", "self_input_token"),
    ("att", "zero"),
    ("att", "self_input_token"),
    ("mlp", "zero"),
)


def main() -> None:
    torch.set_num_threads(THREADS)
    with tempfile.TemporaryDirectory() as scratch, peer() as ask:
        folder = Path(scratch) / "bert-base-shape"
        small, large = minilm(), bert_base(folder)
        cases = [case("minilm", small, tokens) for tokens in (9, 41, 128)]
        cases += [case("bert-base shape", large, tokens) for tokens in (128, 512)]
        rows = [row for found in cases for row in measure(found, ask, Path(scratch))]
        memory = [
            memory_row(folder, tokens, baseline) for baseline in ("zero", "self_input_token") for tokens in (256, 512)
        ]
    report = {"machine": machine(), "rows": rows, "memory": memory}
    (HERE / "core.json").write_text(json.dumps(report, indent=1) + "\n")
    (HERE / "core.md").write_text(table(report))
    plot(rows, HERE / "core.png")
    print((HERE / "core.md").read_text())


def measure(found: Case, ask: Ask, scratch: Path) -> Iterator[dict[str, Any]]:
    block = found.block
    np.save(scratch / "z.npy", block.z.numpy())
    nodes, _ = riemann_trapezoid(STEPS)
    floor_seconds = best(lambda: floor(block, nodes[1:]))
    sample = list(range(0, found.tokens, max(1, found.tokens // PEER_COLUMNS[found.tokens])))[
        : PEER_COLUMNS[found.tokens]
    ]
    for name, baseline in MAPS:
        if found.tokens == 512 and name != "layer":
            continue
        fixed = run(found, name, baseline, RiemannTrapezoid(STEPS))
        seconds = best(lambda: run(found, name, baseline, RiemannTrapezoid(STEPS)))  # noqa: B023 - called at once
        adaptive = run(found, name, baseline, Adaptive())
        adaptive_seconds = best(lambda: run(found, name, baseline, Adaptive()))  # noqa: B023
        theirs = ask(
            {
                "map": name,
                "folder": str(found.folder),
                "input_ids": found.input_ids,
                "z": str(scratch / "z.npy"),
                "layer": LAYER,
                "baseline": baseline,
                "steps": STEPS,
                "targets": sample,
                "threads": THREADS,
            }
        )
        columns = found.tokens * (block.num_heads if name == "att" else 1)
        their_seconds = theirs["seconds"] / theirs["columns"] * columns
        sums = np.array(theirs["sums"])
        heads = block.num_heads if name == "att" else 1
        totals = fixed.total.numpy().reshape(-1, heads)[sample, 0]
        row = {
            "case": found.name,
            "tokens": found.tokens,
            "map": name,
            "baseline": baseline,
            "peer_seconds": their_seconds,
            "peer_columns_timed": theirs["columns"],
            "ours_seconds_same_nodes": seconds,
            "ours_seconds_adaptive": adaptive_seconds,
            "speedup_same_nodes": their_seconds / seconds,
            "speedup_adaptive": their_seconds / adaptive_seconds,
            "floor_seconds": floor_seconds if name == "layer" else None,
            "ratio_to_floor": seconds / floor_seconds if name == "layer" else None,
            "peer_completeness_error_median": float(np.median(np.abs(sums - totals) / totals)),
            "peer_completeness_error_max": float(np.max(np.abs(sums - totals) / totals)),
            "ours_trapezoid_completeness_error_max": float(fixed.completeness_error.max()),
            "ours_adaptive_completeness_error_max": float(adaptive.completeness_error.max()),
            "ours_adaptive_mean_nodes": float(adaptive.nodes.double().mean()),
            "ours_adaptive_converged": float(adaptive.converged.double().mean()),
        }
        print(json.dumps(row), file=sys.stderr, flush=True)
        yield row


def run(found: Case, name: str, baseline: Any, quadrature: Quadrature) -> Attribution:
    """One map of the case's layer, everything included: fitting the path, checking it, integrating."""
    integrator = SplitBlockIntegrator(
        found.block, found.loaded.facts[LAYER].laws, torch.arange(found.tokens), quadrature
    )
    if name == "layer":
        return integrator.layer(baseline).attribution
    if name == "att":
        return integrator.att(baseline, range(found.block.num_heads)).attribution
    return integrator.mlp_from_residual(baseline).attribution


def best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@contextmanager
def peer() -> Iterator[Ask]:
    """The authors' library in its own process and environment; a function that asks it."""
    python = PEER_VENV / "bin" / "python"
    if not (PEER_VENV / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", PEER_VENV], check=True)
        for package in PEER_PACKAGES:  # torch first, alone: the library's own range would take another build
            subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
        (PEER_VENV / ".ready").touch()
    # The library compiles its attention anew for every target; without that it is many times faster, and so it is
    # measured without.
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1"}
    with side([python, HERE / "peer_side.py"], environment) as ask:
        yield ask


def memory_row(folder: Path, tokens: int, baseline: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.memory", str(folder), str(tokens), baseline]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    return {"tokens": tokens, "baseline": baseline, **json.loads(found)}


def machine() -> dict[str, Any]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "threads": THREADS,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "steps": STEPS,
    }


def table(report: dict[str, Any]) -> str:
    head = (
        "case | map | baseline | peer, s | ours, same nodes, s | speed-up | ours / floor | ours adaptive, s | nodes | "
        "completeness: peer median / max | ours, adaptive, max"
    )
    lines = [
        "# The core against the authors' library and the floor",
        "",
        f"One run, {report['machine']['threads']} threads, torch {report['machine']['torch']}, float32, layer {LAYER}; "
        f"peer: layer-wise-integrated-gradients 0.1.0, {STEPS} trapezoid steps, timed on some columns, scaled "
        "to all. Same nodes: ours with the same trapezoid. Floor: projections, attention forward, forward and VJP of "
        "the token-wise part at the same nodes. Completeness is relative to each target's total.",
        "",
        f"| {head} |",
        "|" + "---|" * len(head.split("|")),
    ]
    for row in report["rows"]:
        ratio = "" if row["ratio_to_floor"] is None else f"{row['ratio_to_floor']:.2f}"
        lines.append(
            f"| {row['case']} | {row['map']} | {row['baseline']} | {row['peer_seconds']:.2f} | "
            f"{row['ours_seconds_same_nodes']:.3f} | {row['speedup_same_nodes']:.0f}× | {ratio} | "
            f"{row['ours_seconds_adaptive']:.3f} | {row['ours_adaptive_mean_nodes']:.0f} | "
            f"{row['peer_completeness_error_median']:.2g} / {row['peer_completeness_error_max']:.2g} | "
            f"{row['ours_adaptive_completeness_error_max']:.1e} |"
        )
    lines += [
        "",
        "## Memory and growth: BERT-base shape, one layer map, 16 nodes, a process each",
        "",
        "| baseline | tokens | peak over the model, MiB | seconds |",
        "|---|---|---|---|",
    ]
    for row in report["memory"]:
        lines.append(
            f"| {row['baseline']} | {row['tokens']} | {row['peak_over_model_mib']:.0f} | {row['seconds']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(f"{row['map']}, {row['baseline']}", []).append(row)
    labels = list(dict.fromkeys(row["case"] for row in rows))
    for name, members in groups.items():
        positions = [labels.index(row["case"]) for row in members]
        axes.plot(positions, [row["speedup_same_nodes"] for row in members], "o-", label=name)
    axes.set_yscale("log")
    axes.set_xticks(range(len(labels)), [label.replace(", ", "\n") for label in labels])
    axes.set_ylabel("times faster than the authors' library, same nodes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
