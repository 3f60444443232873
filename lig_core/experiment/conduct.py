"""The run: every sentence measured once, then the tables made of what is in the ledger, in the sentences' order.

Sentences are measured in packs of MOST_SENTENCES that follow on one another, whoever measures them: the last digits
hang on which ones are measured together, and on nothing that is measured already.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lig_core.contract import Progress
from lig_core.errors import InvalidRequest
from lig_core.experiment.corpora import Corpus, Sentence
from lig_core.experiment.ledger import Ledger
from lig_core.experiment.measured import left_out_of, sentences_of
from lig_core.experiment.outputs.authors import summary_of
from lig_core.experiment.outputs.tables import SUMMARY, TOP, Consistency, Theirs, top_rows, write_csv
from lig_core.experiment.pairs import PAIRS, Pair
from lig_core.experiment.request import MOST_SENTENCES, MOST_TOKENS, ExperimentRequest, PackSentence
from lig_core.result.arrays import Head, LayerArrays

NEEDED = {"pyarrow": "Parquet", "matplotlib": "plots"}


@dataclass(frozen=True)
class Plan:
    """What to measure: pairs; sentences from `start` up to, not with, `end`; layers (None: all); tokens or words.

    Longer sentences than `most_tokens` are left out, and counted. `maps` keeps every map, in the authors' format.
    """

    pairs: Sequence[Pair] = PAIRS
    start: int = 0
    end: int | None = None
    most_tokens: int = MOST_TOKENS
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


@dataclass(frozen=True)
class Portion:
    """Sentences that are measured together, and the request for that."""

    sentences: Sequence[Sentence]
    request: ExperimentRequest

    @property
    def numbers(self) -> list[int]:
        """The numbers of the sentences, by their places in the request."""
        return [sentence.number for sentence in self.sentences]


class Place(Protocol):
    """Where sentences are measured, with one model."""

    @property
    def model(self) -> str:
        """The model's name."""

    @property
    def num_layers(self) -> int:
        """How many layers it has."""

    def measured(self, portions: Iterable[Portion]) -> Iterator[tuple[Portion, Head, list[LayerArrays]]]:
        """The head and the layers of each portion, as soon as it is measured."""


def conduct(
    corpus: Corpus,
    place: Place,
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
    layers = list(range(place.num_layers)) if plan.layers is None else sorted(plan.layers)
    if wrong := [layer for layer in layers if not 0 <= layer < place.num_layers]:
        raise InvalidRequest(f"layer {wrong[0]} asked, but {place.model} has layers 0 to {place.num_layers - 1}")
    end = len(corpus.sentences) if plan.end is None else min(plan.end, len(corpus.sentences))
    plan = replace(plan, layers=layers, end=end)
    sentences = corpus.sentences[plan.start : end]
    if not sentences:
        raise InvalidRequest(f"no sentences from {plan.start} to {end}; '{corpus.name}' has {len(corpus.sentences)}")
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "ledger.sqlite", _asked(corpus, place, plan))
    try:
        _measure_missing(ledger, sentences, place, plan, progress)
        _write(ledger, corpus, folder, plan)
    finally:
        ledger.close()


def compare_authors(files: Path, folder: Path) -> None:
    """The authors' two tables of a folder of their files, by their rules."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_theirs(summary_of(files, split=files.name), folder)


def _measure_missing(
    ledger: Ledger,
    sentences: Sequence[Sentence],
    place: Place,
    plan: Plan,
    progress: Callable[[Progress], None] | None,
) -> None:
    held = ledger.done()

    def tell() -> None:
        if progress is not None:
            progress(Progress(phase="computing", done=len(held), total=len(sentences), unit="sentences"))

    tell()
    portions = (one for one in _portions(sentences, place.model, plan) if not held.issuperset(one.numbers))
    for portion, head, layers in place.measured(portions):
        ledger.computed_with({name: value for name, value in head["receipt"].items() if name != "request"})
        left_out = left_out_of(head, portion.numbers)
        found = {one.number: one for one in sentences_of(head, layers, portion.numbers)}
        for number in portion.numbers:
            if number not in held:
                ledger.add(number, found.get(number), left_out.get(number))
        held |= {*portion.numbers}
        tell()


def _portions(sentences: Sequence[Sentence], model: str, plan: Plan) -> Iterator[Portion]:
    for start in range(0, len(sentences), MOST_SENTENCES):
        chosen = sentences[start : start + MOST_SENTENCES]
        request = ExperimentRequest(
            sentences=[PackSentence.of(sentence) for sentence in chosen],
            model=model,
            pairs=[pair.key for pair in plan.pairs],
            layers=list(plan.layers or ()),
            words=plan.words,
            most_tokens=plan.most_tokens,
            rtol=plan.rtol,
        )
        yield Portion(chosen, request)


def _write(ledger: Ledger, corpus: Corpus, folder: Path, plan: Plan) -> None:
    from lig_core.experiment.outputs.columns import Columns  # noqa: PLC0415  what they need is an extra
    from lig_core.experiment.outputs.plots import draw  # noqa: PLC0415
    from lig_core.experiment.outputs.report import report  # noqa: PLC0415

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
    text = report(rows, ledger.setup, sentences=count, left_out=ledger.left_out())
    (folder / "report.md").write_text(text, encoding="utf-8")


def _write_theirs(summary: Sequence[dict[str, Any]], folder: Path) -> None:
    write_csv(folder / "summary.csv", summary, SUMMARY)
    write_csv(folder / "top.csv", top_rows(summary), TOP)


def _asked(corpus: Corpus, place: Place, plan: Plan) -> dict[str, Any]:
    return {
        "model": place.model,
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
    }
