"""The run: every sentence measured once, then the tables made of what is in the ledger, in the sentences' order."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lig_core import batch
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
    for chosen, left_out in _packs(sentences, model, plan):
        for sentence, why in left_out:
            if sentence.number not in held:
                ledger.add(sentence.number, None, why)
                done += 1
        missing = [sentence for sentence in chosen if sentence.number not in held]
        if missing:
            _measure_pack(ledger, chosen, missing, model, folder, plan)
            done += len(missing)
        if progress is not None:
            progress(Progress(phase="computing", done=done, total=len(sentences), unit="sentences"))


def _packs(
    sentences: Sequence[Sentence], model: LoadedModel, plan: Plan
) -> Iterator[tuple[list[Sentence], list[tuple[Sentence, str]]]]:
    """Sentences that are measured together, and those left out beside them, with why.

    They hang on the corpus and the plan alone, not on what is measured already: the last digits hang on them.
    """
    pack: list[Sentence] = []
    left_out: list[tuple[Sentence, str]] = []
    tokens = 0
    for sentence in sentences:
        try:
            length = len(model.encode([sentence.text]).texts[0].tokens)
        except TextTooLong:
            left_out.append((sentence, "longer than the model takes"))
            continue
        if length > plan.most_tokens:
            left_out.append((sentence, f"more than {plan.most_tokens} tokens"))
            continue
        if pack and tokens + length > batch.MOST_PACKED:
            yield pack, left_out
            pack, left_out, tokens = [], [], 0
        pack.append(sentence)
        tokens += length
    yield pack, left_out


def _measure_pack(
    ledger: Ledger,
    chosen: Sequence[Sentence],
    missing: Sequence[Sentence],
    model: LoadedModel,
    folder: Path,
    plan: Plan,
) -> None:
    maps = {one.number: Maps(folder / "authors", one) for one in missing} if plan.maps else {}
    measured = measure(
        chosen,
        batch.Pack([sentence.text for sentence in chosen], model),
        model,
        plan.pairs,
        Adaptive.asked(plan.rtol),
        layers=plan.layers or (),
        words=plan.words,
        sinks=[maps[one.number].add if one.number in maps else None for one in chosen],
    )
    numbers = {one.number for one in missing}
    for one in measured:
        if one.number in numbers:
            if one.number in maps:
                maps[one.number].write(one.about, nodes=f"adaptive to {plan.rtol:g}")
            ledger.add(one.number, one)


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
