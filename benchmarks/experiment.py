"""What the experiment costs: `python -m benchmarks.experiment [PART …]`, or `make bench-experiment`.

    pairs    all 24 pairs of a 41-token sentence against the dearest pair alone, one layer of BERT-base's shape
    packs    sentences that share sequences against each alone, minilm
    memory   10,000 generated sentences through a small model: resident memory on the way
    workers  a corpus by two workers against one, and with one of two killed: time, and the tables bit for bit
    api      a corpus by one worker, the API killed whenever sentences came back: the same, and how often each was run

Parts are measured in one process, by turns; but for the last two in seconds of the processor, which what else runs on a
machine changes less. Writes benchmarks/experiment.json; benchmarks/experiment.md says it in words.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import httpx
import psutil

OUT = Path(__file__).parent
CORPUS = OUT / "corpus" / "constructions.conllu"
TABLES = ("report.md", "consistency.csv", "summary.csv", "top.csv", "columns.parquet")
TOKENS, ROUNDS = 41, 3
GENERATED, SEED = 10_000, 7
MEASURED_BY_WORKERS, LAYERS, RTOL = 96, [0, 3], 1e-2
LEASE = 5.0
MEBIBYTE = 2**20


def processor_seconds(do: Callable[[], Any]) -> float:
    start = time.process_time()
    do()
    return time.process_time() - start


def pairs(folder: Path) -> dict[str, Any]:
    from benchmarks.cases import bert_base
    from lig_core.experiment.corpora import read_corpus
    from lig_core.experiment.measures import stream
    from lig_core.experiment.pairs import PAIRS
    from lig_core.experiment.request import ExperimentRequest

    model = bert_base(folder)
    words = [word for sentence in read_corpus(CORPUS).sentences for word in sentence.words or ()]
    count = next(n for n in range(1, len(words)) if _tokens(model, words[:n]) == TOKENS)
    asked = {"sentences": [{"words": words[:count]}], "model": model.card.name, "layers": [model.num_layers - 1]}

    def run(keys: Sequence[str] | None) -> None:
        request = ExperimentRequest.model_validate({**asked, "pairs": keys})
        list(stream(request, model)[1])

    # Those whose three parts are made of both starts, or of as many of them as there are.
    dear = [pair.key for pair in PAIRS if pair.layer == "itb_zero_ratio" and pair.att == "itb_zero_ratio"]
    run(None)
    times = {name: [] for name in ("all", *dear)}
    for _ in range(ROUNDS):
        for name, seconds in times.items():
            seconds.append(processor_seconds(lambda name=name: run(None if name == "all" else [name])))
    least = {name: min(seconds) for name, seconds in times.items()}
    dearest = max(dear, key=least.__getitem__)
    return {
        "tokens": TOKENS,
        "all_24_seconds": least["all"],
        "dearest_pair": dearest,
        "dearest_seconds": least[dearest],
        "ratio": least["all"] / least[dearest],
    }


def _tokens(model: Any, words: Sequence[str]) -> int:
    return len(model.encode([" ".join(words)]).texts[0].tokens)


def packs(folder: Path) -> dict[str, Any]:
    from lig_core import batch
    from lig_core.experiment.corpora import read_corpus
    from lig_core.experiment.measures import stream
    from lig_core.experiment.request import MOST_SENTENCES, ExperimentRequest, PackSentence
    from lig_core.loading.loaded import load_model
    from lig_core.models.catalog import find_model

    model, together = load_model(find_model("minilm"), device="cpu"), batch.MOST_PACKED
    drawn = random.Random(SEED).sample(list(read_corpus(CORPUS).sentences), MOST_SENTENCES)
    sentences = [PackSentence.of(one) for one in drawn]
    request = ExperimentRequest(sentences=sentences, model="minilm", layers=LAYERS)
    times: dict[int, list[float]] = {together: [], 1: []}
    for _ in range(2):
        for batch.MOST_PACKED, seconds in times.items():
            seconds.append(processor_seconds(lambda: list(stream(request, model)[1])))
    batch.MOST_PACKED = together
    rates = {name: len(drawn) / min(seconds) for name, seconds in times.items()}
    return {
        "sentences": len(drawn),
        "layers": LAYERS,
        "packed_texts_a_second": rates[together],
        "alone_texts_a_second": rates[1],
        "ratio": rates[together] / rates[1],
    }


def memory(folder: Path) -> dict[str, Any]:
    import torch
    from transformers import BertConfig

    from benchmarks.warm_worker import make_model
    from lig_core.contract import Progress
    from lig_core.experiment.conduct import Plan, conduct
    from lig_core.experiment.corpora import read_corpus
    from lig_core.experiment.here import Here
    from lig_core.loading.loaded import load_model
    from lig_core.models.catalog import find_model

    torch.set_num_threads(1)
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    make_model(folder / "small", config, SEED)
    draw, words = random.Random(SEED), CORPUS.read_text(encoding="utf-8").split("\n")
    known = sorted({line.split("\t")[1] for line in words if line.count("\t") == 9})
    lines = [" ".join(draw.choices(known, k=draw.randint(1, 4))) for _ in range(GENERATED)]
    (folder / "generated.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    resident: dict[int, float] = {}

    def note(progress: Progress) -> None:
        resident[progress.done] = psutil.Process().memory_info().rss / MEBIBYTE

    place = Here(load_model(find_model(str(folder / "small")), device="cpu"))
    seconds = processor_seconds(
        lambda: conduct(read_corpus(folder / "generated.txt"), place, folder / "run", Plan(rtol=0.05), progress=note)
    )
    marks = [min(resident, key=lambda done, share=share: abs(done - share * GENERATED)) for share in (0.1, 0.5, 1.0)]
    return {
        "sentences": GENERATED,
        "resident_mib": {str(done): resident[done] for done in marks},
        "resident_after_tables_mib": psutil.Process().memory_info().rss / MEBIBYTE,
        "ledger_mib": (folder / "run" / "ledger.sqlite").stat().st_size / MEBIBYTE,
        "processor_seconds": seconds,
    }


def workers(folder: Path) -> dict[str, Any]:
    corpus, plan = _measured_here(folder)
    seconds: dict[str, list[float]] = {"one": [], "two": [], "one_of_two_killed": []}
    for turn, (name, count) in enumerate((("one", 1), ("two", 2), ("one", 1), ("two", 2), ("one_of_two_killed", 2))):
        killed = "worker" if name == "one_of_two_killed" else None
        seconds[name].append(_by_workers(corpus, plan, folder / str(turn), count, killed=killed)[0])
        _require_same_tables(folder / str(turn), folder / "here")
    return {
        "sentences": MEASURED_BY_WORKERS,
        "seconds": seconds,
        "two_against_one": min(seconds["one"]) / min(seconds["two"]),
        "same_tables": True,
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
    }


def api(folder: Path) -> dict[str, Any]:
    corpus, plan = _measured_here(folder)
    seconds, kills, runs = _by_workers(corpus, plan, folder / "there", 1, killed="API")
    _require_same_tables(folder / "there", folder / "here")
    return {
        "sentences": MEASURED_BY_WORKERS,
        "seconds": seconds,
        "kills": kills,
        "jobs_run": runs,
        "same_tables": True,
        "load": os.getloadavg()[0],
    }


def _measured_here(folder: Path) -> tuple[Any, Any]:
    """The corpus and what to measure of it; what this process measures is in `here`."""
    from lig_core.experiment.conduct import Plan, conduct
    from lig_core.experiment.corpora import read_corpus
    from lig_core.experiment.here import Here
    from lig_core.loading.loaded import load_model
    from lig_core.models.catalog import find_model

    corpus, plan = read_corpus(CORPUS), Plan(end=MEASURED_BY_WORKERS, layers=LAYERS, rtol=RTOL)
    conduct(corpus, Here(load_model(find_model("minilm"), device="cpu")), folder / "here", plan)
    return corpus, plan


def _require_same_tables(run: Path, here: Path) -> None:
    for table in TABLES:
        assert (run / table).read_bytes() == (here / table).read_bytes(), f"{table} is not that of a run in one process"


def _by_workers(
    corpus: Any, plan: Any, folder: Path, count: int, *, killed: Literal["worker", "API"] | None = None
) -> tuple[float, int, int]:
    """Seconds, kills, and how many jobs were run."""
    from lig_core.client import Client
    from lig_core.contract import Progress
    from lig_core.experiment.conduct import conduct
    from lig_core.experiment.there import There
    from tests.faults.stack import REAL_WORKER, Stack

    kills = 0

    def kill(progress: Progress) -> None:
        nonlocal kills
        victim = (stack.apis if killed == "API" else stack.workers)[0]
        due = progress.done > 0 if killed == "API" else progress.done >= MEASURED_BY_WORKERS // 4
        if killed and due and victim.running:
            victim.kill()
            kills += 1

    told = {"LIG_PRELOAD": '["minilm"]', "LIG_DEVICE": "cpu", "LIG_LOG_LEVEL": "warning"}
    with (
        tempfile.TemporaryDirectory() as name,
        Stack(Path(name), workers=count, lease=LEASE, fsync="everysec", worker=REAL_WORKER, **told) as stack,
        Client(stack.url) as client,
    ):
        stack.wait_until_ready()
        start = time.monotonic()
        with stack.kept_up() if killed == "API" else nullcontext():
            conduct(corpus, There(client, "minilm"), folder, plan, progress=kill)
            seconds = time.monotonic() - start
            stack.wait_until_ready()
            runs = _metric(f"{stack.url}/metrics", "lig_attempts_total")
    return seconds, kills, runs


def _metric(url: str, name: str) -> int:
    (line,) = (line for line in httpx.get(url).text.splitlines() if line.startswith(f"{name} "))
    return int(float(line.split()[1]))


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "pairs": pairs,
    "packs": packs,
    "memory": memory,
    "workers": workers,
    "api": api,
}


def main() -> None:
    file = OUT / "experiment.json"
    for name in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            measured = PARTS[name](Path(folder))
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, name: measured}, indent=1) + "\n")
        print(name, json.dumps(measured), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
