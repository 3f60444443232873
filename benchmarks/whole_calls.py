"""Whole calls of `explain()`, warm and by turns in one run: `python -m benchmarks.whole_calls [--before TREE]`.

Ours against the authors' library, which keeps its model too; sixteen short texts together against one by one, and, if
a TREE is given (a checkout with the code of another time), against what they take there; maps of a layer over the
physical floor at the same nodes, all at once; and what a long text costs beyond the computing, here and there. Writes
benchmarks/whole_calls.json and .md: ratios of medians.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import floor as floors
from benchmarks.cases import TEXT, case, minilm
from benchmarks.core import PEER_VENV, peer, run
from benchmarks.population import ordinary
from benchmarks.sides import side
from lig_core.loading.loaded import LoadedModel
from lig_core.models.catalog import find_model
from lig_core.quadrature import GaussLegendre

HERE = Path(__file__).parent
Explain = Callable[..., dict[str, float]]
TURNS, FEW = 5, 2
TOGETHER = 16
NODES = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout of an earlier tree")
    before_tree = parser.parse_args().before or HERE.parent
    torch.set_num_threads(1)
    model = minilm()
    with peer():
        pass  # makes the environment
    report: dict[str, Any] = {"torch": torch.__version__, "floor": list(over_the_floor(model))}
    with (
        explaining(sys.executable) as ours,
        explaining(PEER_VENV / "bin" / "python", TORCHDYNAMO_DISABLE="1") as theirs,
    ):
        report["peer"] = list(against_the_peer(model, ours, theirs))
    with (
        explaining(sys.executable) as ours,
        explaining(sys.executable, PYTHONPATH=str(before_tree)) as before,
    ):
        report["together"] = list(together(model, ours, before))
    report["long"] = {
        name: long_text(PYTHONPATH=str(tree)) for name, tree in (("here", HERE.parent), ("before", before_tree))
    }
    (HERE / "whole_calls.json").write_text(json.dumps(report, indent=1) + "\n")
    (HERE / "whole_calls.md").write_text(table(report))
    print(table(report))


@contextmanager
def explaining(python: str | Path, **environment: str) -> Iterator[Explain]:
    """A process that calls `explain()` of texts, with options."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    alike = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with side([python, HERE / "explain_side.py"], inherited | alike | environment) as ask:
        yield lambda texts, **options: ask({"texts": texts, **options})


def by_turns(turns: int, *works: Callable[[], dict[str, float]], of: str = "seconds") -> list[float]:
    """Medians of what each takes, asked in turn; each once before."""
    for work in works:
        work()
    found = [[work()[of] for work in works] for _ in range(turns)]
    return [statistics.median(times) for times in zip(*found, strict=True)]


def of_length(model: LoadedModel, tokens: int, count: int) -> list[str]:
    """Drawn texts of so many tokens."""
    drawn, texts = random.Random(tokens), list[str]()
    while len(texts) < count:
        words = ordinary(drawn, tokens).split()
        for length in range(1, len(words) + 1):
            text = " ".join(words[:length])
            if len(model.encode([text]).texts[0].tokens) == tokens:
                texts.append(text)
                break
    return texts


def over_the_floor(model: LoadedModel) -> Iterator[dict[str, Any]]:
    """Maps of a layer over what any exact method must compute at the same nodes."""
    rule = GaussLegendre(NODES)
    nodes = torch.linspace(0.02, 0.98, NODES, dtype=torch.float64)
    floors.NODES_AT_ONCE = NODES
    for tokens in (20, 41, 128):
        found = case("minilm", model, tokens)
        for name, least in (("layer", floors.floor), ("att", floors.floor_of_attention)):
            for baseline in ("zero", "self_input_token"):
                ours, floor = by_turns(
                    TURNS,
                    lambda name=name, baseline=baseline, found=found: timed(lambda: run(found, name, baseline, rule)),
                    lambda least=least, found=found: timed(lambda: least(found.block, nodes)),
                    of="processor",
                )
                yield {"tokens": tokens, "map": name, "baseline": baseline, "ratio": ours / floor}
                print(json.dumps({"tokens": tokens, "map": name, "ratio": ours / floor}), file=sys.stderr, flush=True)


def timed(work: Callable[[], object]) -> dict[str, float]:
    start, busy = time.perf_counter(), time.process_time()
    work()
    return {"seconds": time.perf_counter() - start, "processor": time.process_time() - busy}


def against_the_peer(model: LoadedModel, ours: Explain, theirs: Explain) -> Iterator[dict[str, Any]]:
    """One layer of one text; of 41 tokens and all maps one target, for theirs takes minutes otherwise."""
    folder = str(find_model("minilm").source)
    for tokens, granularity, turns in ((9, "layer", TURNS), (41, "layer", TURNS), (9, "all", FEW), (41, "all", FEW)):
        (text,) = of_length(model, tokens, 1)
        options: dict[str, Any] = {"granularity": granularity, "layers": [3], "device": "cpu"}
        if (tokens, granularity) == (41, "all"):
            options["target_tokens"] = [20]
        mine, peers = by_turns(
            turns,
            lambda text=text, options=options: ours([text], model="minilm", **options),
            lambda text=text, options=options: theirs([text], model=folder, **options),
        )
        found = {"tokens": tokens, "maps": granularity, "seconds": mine, "peer_seconds": peers, "ratio": peers / mine}
        print(json.dumps(found), file=sys.stderr, flush=True)
        yield found


def together(model: LoadedModel, ours: Explain, before: Explain) -> Iterator[dict[str, Any]]:
    """Sixteen texts in one call, one by one, and one by one in the other tree: milliseconds of processor a text."""
    for tokens, granularity in ((9, "layer"), (9, "all"), (20, "layer"), (41, "layer")):
        texts = of_length(model, tokens, TOGETHER)
        options: dict[str, Any] = {"model": "minilm", "granularity": granularity, "labels": False, "device": "cpu"}
        packed, alone, earlier = by_turns(
            FEW,
            lambda texts=texts, options=options: ours(texts, together=True, **options),
            lambda texts=texts, options=options: ours(texts, **options),
            lambda texts=texts, options=options: before(texts, **options),
            of="processor",
        )
        found = {"tokens": tokens, "maps": granularity, "to_alone": packed / alone, "to_before": packed / earlier}
        found |= {"alone_to_before": alone / earlier, "milliseconds": 1e3 * packed / TOGETHER}
        print(json.dumps(found), file=sys.stderr, flush=True)
        yield found


def long_text(**environment: str) -> dict[str, float]:
    """What `explain()` takes of 512 tokens, all maps, beyond the computing: in a process of its own."""
    alike = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **environment}
    command = [sys.executable, HERE / "long_side.py", TEXT]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=alike)
    answer: dict[str, float] = json.loads(done.stdout)
    print(json.dumps(answer), file=sys.stderr, flush=True)
    return answer


PAGE = """# Whole calls

torch {torch}, one thread, float32, warm; by turns in one run.

| tokens | maps of layer 3 | ours, s | the authors' library, s | times |
|---|---|---|---|---|
{peer}
Processor time of {count} texts in one call, over that of one call each, here and in the tree before.

| tokens | maps | ms a text | to one by one | to before | one by one to before |
|---|---|---|---|---|---|
{together}
Over the floor at {nodes} nodes, all at once, of layer 3; processor time.

| tokens | map | ratio |
|---|---|---|
{floor}
512 tokens, all maps and layers, labels: arrays of {arrays:.0f} MiB. Seconds of processor, and the most that the process
had until then, the model ({model:.2f} GiB) included.

| | computing alone, s | `explain()`, s | GiB | its JSON in a file, s | GiB | MiB of the file |
|---|---|---|---|---|---|---|
{long}"""


def table(report: dict[str, Any]) -> str:
    """As Markdown."""
    peers = "".join(
        f"| {r['tokens']} | {r['maps']} | {r['seconds']:.3f} | {r['peer_seconds']:.3f} | {r['ratio']:.1f} |\n"
        for r in report["peer"]
    )
    packed = "".join(
        f"| {r['tokens']} | {r['maps']} | {r['milliseconds']:.1f} | {r['to_alone']:.2f} | {r['to_before']:.2f} | "
        f"{r['alone_to_before']:.2f} |\n"
        for r in report["together"]
    )
    floor = "".join(f"| {r['tokens']} | {r['map']}, {r['baseline']} | {r['ratio']:.2f} |\n" for r in report["floor"])
    long = "".join(
        f"| {name} | {r['computing_processor']:.1f} | {r['explain_processor']:.1f} | {r['explain_gib']:.2f} | "
        f"{r['writing_processor']:.1f} | {r['writing_gib']:.2f} | {r['json_mib']:.0f} |\n"
        for name, r in report["long"].items()
    )
    here = report["long"]["here"]
    return PAGE.format(
        torch=report["torch"],
        peer=peers,
        together=packed,
        floor=floor,
        count=TOGETHER,
        nodes=NODES,
        arrays=here["arrays_mib"],
        model=here["model_gib"],
        long=long,
    )


if __name__ == "__main__":
    main()
