"""A whole run with a trained model: what it shares, that a kill changes nothing, what stands in the folder."""

import csv
import json
import multiprocessing
import os
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from lig_core import cli, explain
from lig_core.errors import InvalidRequest
from lig_core.experiment import conduct as conducting
from lig_core.experiment import here
from lig_core.experiment.conduct import Plan, conduct, require_packages
from lig_core.experiment.corpora import read_corpus
from lig_core.experiment.here import Here
from lig_core.experiment.ledger import Ledger
from lig_core.experiment.outputs.authors import summary_of
from lig_core.experiment.pairs import PAIRS
from tests.support.closeness import assert_close

TEXT = "Dogs 2-nsubj\nbarked 0-root\n\nUnobtrusively 2-advmod\nsing 0-root\n\nGo 0-root\n"
PLAN = Plan(layers=[1], rtol=0.01)
TABLES = ("consistency.csv", "columns.parquet", "summary.csv", "top.csv", "report.md")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    file = tmp_path_factory.mktemp("corpus") / "small.dep"
    file.write_text(TEXT)
    return read_corpus(file)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, corpus, minilm):
    folder = tmp_path_factory.mktemp("whole")
    conduct(corpus, Here(minilm), folder, PLAN)
    return folder


def killed_at(place, name, count, run):
    """A run that is killed when something is called for the `count`-th time."""
    known, calls = getattr(place, name), []

    def dies(*args, **more):
        calls.append(args)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return known(*args, **more)

    setattr(place, name, dies)
    conduct(*run, PLAN)


@pytest.mark.parametrize("together", [1, 16])
@pytest.mark.parametrize(("place", "name"), [(here, "stream"), (Ledger, "add")])
def test_a_killed_run_goes_on_to_the_same_tables_bit_for_bit(
    tmp_path, corpus, minilm, monkeypatch, together, place, name
):
    monkeypatch.setattr(conducting, "MOST_SENTENCES", together)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    conduct(corpus, Here(minilm), whole, PLAN)
    run = (corpus, Here(minilm), broken)
    count = 1 if (together, name) == (16, "stream") else 2
    process = multiprocessing.get_context("fork").Process(target=killed_at, args=(place, name, count, run))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not (broken / "report.md").exists()
    add, numbers, seen = Ledger.add, [], []
    monkeypatch.setattr(Ledger, "add", lambda self, number, *more: numbers.append(number) or add(self, number, *more))
    conduct(*run, PLAN, progress=seen.append)
    assert numbers == list(range(count - 1, 3))
    assert [(one.done, one.total, one.unit) for one in seen][-1] == (3, 3, "sentences")
    for table in (*TABLES, "plots/pairs.svg", "plots/layers.svg"):
        assert (broken / table).read_bytes() == (whole / table).read_bytes(), table


def test_every_sentence_layer_target_and_pair_is_a_row(whole):
    table = pq.read_table(whole / "columns.parquet").to_pydict()
    rows = set(zip(table["sentence"], table["layer"], table["target"], table["pair"], strict=True))
    assert len(rows) == len(table["pair"])
    assert {(sentence, pair) for sentence, _, _, pair in rows} == {(k, p.key) for k in range(3) for p in PAIRS}
    dogs = table["token"].index("dogs")
    assert (table["relation"][dogs], table["head_distance"][dogs]) == ("nsubj", 1)
    assert table["relation"][table["token"].index("[CLS]")] is None


@pytest.mark.parametrize(
    ("layer", "att", "mlp"),
    [("self_input_token", "itb_map_ratio", "att_itb_a0"), ("itb_zero_ratio", "itb_zero_ratio", "zero")],
)
def test_a_pair_is_what_explain_compares(whole, layer, att, mlp):
    options = {"baseline_layer": layer, "baseline_att": att, "baseline_mlp": mlp, "layers": [1], "rtol": 0.01}
    result = explain("Dogs barked", model="minilm", granularity="composed", u_node="heads", labels=False, **options)
    expected = result["layers"]["1"]["composed"]["product"]["l2_diagnostic"]
    (pair,) = (p.key for p in PAIRS if (p.layer, p.att, p.mlp) == (layer, att, mlp))
    table = pq.read_table(whole / "columns.parquet").to_pylist()
    held = [row for row in table if row["sentence"] == 0 and row["pair"] == pair]
    for name in ("distance", "normalised_distance", "pearson"):
        assert_close(np.array([row[name] for row in held]), np.array(expected[name]), 1e-3)


def test_all_pairs_take_six_integrals_a_layer(corpus, minilm, tmp_path, monkeypatch):
    from lig_core.quadrature import Adaptive

    integrate, made = Adaptive.integrate, []
    monkeypatch.setattr(Adaptive, "integrate", lambda self, one: made.append(one) or integrate(self, one))
    conduct(corpus, Here(minilm), tmp_path, Plan(layers=[0], rtol=0.1, end=1))
    assert len([one for one in made if one.dtype == torch.float32]) == 6  # what rounding would spoil is done again


def test_words_are_summed_on_both_sides(corpus, minilm, tmp_path):
    conduct(
        corpus,
        Here(minilm, tmp_path / "authors"),
        tmp_path,
        Plan(layers=[1], rtol=0.01, start=1, end=2, words=True, pairs=PAIRS[8:9], maps=True),
    )
    table = pq.read_table(tmp_path / "columns.parquet").to_pydict()
    assert table["relation"] == [None, "advmod", "root", None]
    options = {"baseline_layer": PAIRS[8].layer, "baseline_att": PAIRS[8].att, "baseline_mlp": PAIRS[8].mlp}
    merged = explain(
        "Unobtrusively sing",
        model="minilm",
        layers=[1],
        rtol=0.01,
        granularity=["layer", "composed"],
        merge_subwords=True,
        labels=False,
        **options,
    )["layers"]["1"]
    difference = np.array(merged["z2z"]["matrix"]) - np.array(merged["composed"]["product"]["matrix"])
    assert_close(np.array(table["distance"]), np.linalg.norm(difference, axis=0), 1e-3)
    (row,) = summary_of(tmp_path / "authors", split="x")
    with (tmp_path / "summary.csv").open() as file:
        (own,) = csv.DictReader(file)
    assert row["l2_mean"] == pytest.approx(float(own["l2_mean"]), rel=1e-9)
    kept = json.loads(next((tmp_path / "authors" / "layer").rglob("1.json")).read_text())
    assert kept["relns"] == ["advmod", "root"] and np.array(kept["z2z"]).shape == (1, 4, 4)
    done = CliRunner().invoke(cli.app, ["experiment", str(tmp_path / "authors"), "-o", str(tmp_path / "again")])
    assert done.exit_code == 0 and (tmp_path / "again" / "top.csv").exists()


def test_sentences_that_are_too_long_are_counted(corpus, minilm, tmp_path):
    conduct(corpus, Here(minilm), tmp_path, Plan(layers=[0], rtol=0.1, most_tokens=3, pairs=PAIRS[:1]))
    assert "1 sentences measured; left out: 2 (more than 3 tokens)" in (tmp_path / "report.md").read_text()


def test_another_plan_does_not_go_on_in_the_same_folder(whole, corpus, minilm):
    with pytest.raises(InvalidRequest, match="other rtol"):
        conduct(corpus, Here(minilm), whole, Plan(layers=[1], rtol=0.1))
    with pytest.raises(InvalidRequest, match="layers 0 to 5"):
        conduct(corpus, Here(minilm), whole, Plan(layers=[9]))


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(conducting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequest, match=r"pip install 'lig-service\[experiment\]'"):
        require_packages()
