"""The run: every sentence measured once, then the tables made of what is in the ledger, in the sentences' order."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lig_core.contract import Progress
from lig_core.errors import InvalidRequest, TextTooLong
from lig_core.experiment.authors import Maps, summary_of
from lig_core.experiment.corpora import Corpus, Sentence
from lig_core.experiment.ledger import Ledger
from lig_core.experiment.measures import measure
from lig_core.experiment.pairs import PAIRS, Pair
from lig_core.experiment.tables import SUMMARY, TOP, Consistency, Theirs, top_rows, write_csv
from lig_core.loading.loaded import LoadedModel
from lig_core.quadrature import Adaptive
from lig_core.receipt import versions

NEEDED = {"pyarrow": "Parquet", "matplotlib": "plots"}


@dataclass(frozen=True)
class Plan:
    """What to measure: pairs; sentences from `start` up to, not with, `end`; layers (None: all); tokens or words.

    Longer sentences than `most_tokens` are left out, and counted. `maps` keeps every map, in the authors' format.
    """

    pairs: Sequence[Pair] = PAIRS
    start: int = 0
    end: int | None = None
    most_tokens: int = 128
    layers: Sequence[int] | None = None
    words: bool = False
    rtol: float = 1e-3
    maps: bool = False


def require_packages() -> None:
    """Raise InvalidRequest unless what writes Parquet and plots is installed."""
    for package, use in NEEDED.items():
        if importlib.util.find_spec(package) is None:
            raise InvalidRequest(
                f"{package} is not installed, and {use} of an experiment need it; "
                "run: pip install 'lig-service[experiment]'"
            )


def conduct(
    corpus: Corpus,
    model: LoadedModel,
    folder: Path,
    plan: Plan | None = None,
    *,
    progress: Callable[[Progress], None] | None = None,
) -> None:
    """Measure what is missing in the folder's ledger, then write all tables, plots and the report anew.

    The same corpus, model and plan go on with what is there; others raise InvalidRequest.
    """
    require_packages()
    plan = plan or Plan()
    layers = list(range(model.num_layers)) if plan.layers is None else sorted(plan.layers)
    if wrong := [layer for layer in layers if not 0 <= layer < model.num_layers]:
        raise InvalidRequest(f"layer {wrong[0]} asked, but {model.card.name} has layers 0 to {model.num_layers - 1}")
    end = len(corpus.sentences) if plan.end is None else min(plan.end, len(corpus.sentences))
    plan = replace(plan, layers=layers, end=end)
    sentences = corpus.sentences[plan.start : end]
    if not sentences:
        raise InvalidRequest(f"no sentences from {plan.start} to {end}; '{corpus.name}' has {len(corpus.sentences)}")
    folder.mkdir(parents=True, exist_ok=True)
    setup = _setup(corpus, model, plan)
    ledger = Ledger(folder / "ledger.sqlite", setup)
    try:
        _measure_missing(ledger, sentences, model, folder, plan, progress)
        _write(ledger, corpus, folder, plan, setup)
    finally:
        ledger.close()


def compare_authors(files: Path, folder: Path) -> None:
    """The authors' two tables of a folder of their files, by their rules."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_theirs(summary_of(files, split=files.name), folder)


def _measure_missing(
    ledger: Ledger,
    sentences: Sequence[Sentence],
    model: LoadedModel,
    folder: Path,
    plan: Plan,
    progress: Callable[[Progress], None] | None,
) -> None:
    held = ledger.done()
    done = len(held)
    for sentence in sentences:
        if sentence.number not in held:
            _measure_one(ledger, sentence, model, folder, plan)
            done += 1
        if progress is not None:
            progress(Progress(phase="computing", done=done, total=len(sentences), unit="sentences"))


def _measure_one(ledger: Ledger, sentence: Sentence, model: LoadedModel, folder: Path, plan: Plan) -> None:
    try:
        encoded = model.encode([sentence.text])
    except TextTooLong:
        return ledger.add(sentence.number, None, "longer than the model takes")
    if len(encoded.texts[0].tokens) > plan.most_tokens:
        return ledger.add(sentence.number, None, f"more than {plan.most_tokens} tokens")
    maps = Maps(folder / "authors", sentence) if plan.maps else None
    measured = measure(
        sentence,
        encoded,
        model,
        plan.pairs,
        Adaptive.asked(plan.rtol),
        layers=plan.layers or (),
        words=plan.words,
        sink=None if maps is None else maps.add,
    )
    if maps is not None:
        maps.write(measured.about, nodes=f"adaptive to {plan.rtol:g}")
    return ledger.add(sentence.number, measured)


def _write(ledger: Ledger, corpus: Corpus, folder: Path, plan: Plan, setup: dict[str, Any]) -> None:
    from lig_core.experiment.columns import Columns  # noqa: PLC0415  what they need is an extra
    from lig_core.experiment.plots import draw  # noqa: PLC0415
    from lig_core.experiment.report import report  # noqa: PLC0415

    layers = list(plan.layers or ())
    theirs, ours = Theirs(plan.pairs), Consistency(plan.pairs, layers)
    count = 0
    with Columns(folder / "columns.parquet", plan.pairs, layers) as columns:
        for one in ledger:
            theirs.add(one.distance, one.pearson, one.close, one.still)
            ours.add(one)
            columns.add(one)
            count += 1
    if not count:
        raise InvalidRequest(f"no sentence was measured: {ledger.left_out()}")
    _write_theirs(theirs.summary(split=corpus.name, start=plan.start, end=plan.end or 0), folder)
    rows = ours.rows()
    write_csv(folder / "consistency.csv", rows)
    draw(rows, folder / "plots")
    text = report(rows, setup, sentences=count, left_out=ledger.left_out())
    (folder / "report.md").write_text(text, encoding="utf-8")


def _write_theirs(summary: Sequence[dict[str, Any]], folder: Path) -> None:
    write_csv(folder / "summary.csv", summary, SUMMARY)
    write_csv(folder / "top.csv", top_rows(summary), TOP)


def _setup(corpus: Corpus, model: LoadedModel, plan: Plan) -> dict[str, Any]:
    """All that the numbers depend on."""
    return {
        "model": model.card.name,
        "revision": model.revision,
        "files": model.files,
        "corpus": corpus.name,
        "corpus_sha256": corpus.digest,
        "format": corpus.format,
        "sentences": f"{plan.start} to {(plan.end or 0) - 1}",
        "most_tokens": plan.most_tokens,
        "compared": "words" if plan.words else "tokens",
        "layers": list(plan.layers or ()),
        "pairs": "all 24" if len(plan.pairs) == len(PAIRS) else [pair.key for pair in plan.pairs],
        "composition": "product",
        "rtol": plan.rtol,
        "maps_kept": plan.maps,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "versions": dict(versions()),
    }
