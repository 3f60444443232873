"""An experiment by a service's worker: the tables of a run in one process, bit for bit; a pack's result as it is."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from lig_core.client import Client
from lig_core.errors import ServiceError
from lig_core.experiment import conduct as conducting
from lig_core.experiment.conduct import Plan, conduct
from lig_core.experiment.corpora import read_corpus
from lig_core.experiment.here import Here
from lig_core.experiment.there import There
from lig_core.result.saved import from_safetensors
from tests.running.waiting import PATIENCE, wait_until
from worker.main import work
from worker.settings import Settings as WorkerSettings

TEXT = "Dogs 2-nsubj\nbarked 0-root\n\nUnobtrusively 2-advmod\nsing 0-root\n\nGo 0-root\n"
PLAN = Plan(layers=[1, 4], rtol=0.01, most_tokens=5)
TABLES = ("consistency.csv", "columns.parquet", "summary.csv", "top.csv", "report.md")
PACK = {
    "model": "minilm",
    "sentences": [{"text": "Go"}, {"words": ["Dogs", "bark"], "heads": [2, 0], "relations": ["nsubj", "root"]}],
    "pairs": ["itb"],
    "layers": [1],
    "rtol": 0.01,
}


@pytest.fixture
def work_all(redis_url):
    """Does what is queued with a real worker, on one thread as here."""
    settings = WorkerSettings(redis_url=SecretStr(redis_url), device="cpu")
    return lambda: work(settings, burst=True)


@pytest.fixture
def api(start_api):
    with httpx.Client(base_url=start_api(), timeout=PATIENCE) as made:
        yield made


@pytest.fixture
def client(api):
    with Client(str(api.base_url)) as made:
        yield made


def test_a_corpus_is_measured_by_a_worker_as_it_is_here(api, client, work_all, minilm, tmp_path, monkeypatch):
    monkeypatch.setattr(conducting, "MOST_SENTENCES", 2)
    (tmp_path / "small.dep").write_text(TEXT)
    corpus, here, there = read_corpus(tmp_path / "small.dep"), tmp_path / "here", tmp_path / "there"
    conduct(corpus, Here(minilm), here, PLAN)
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(conduct, corpus, There(client, "minilm"), there, PLAN)
        wait_until(lambda: run.done() or len(api.get("/v1/jobs").json()["jobs"]) == 2)
        work_all()
        run.result(PATIENCE)
    for table in (*TABLES, "plots/pairs.svg", "plots/layers.svg"):
        assert (there / table).read_bytes() == (here / table).read_bytes(), table
    assert "left out: 1 (more than 5 tokens)" in (there / "report.md").read_text()
    assert len(api.get("/v1/jobs").json()["jobs"]) <= 1  # what was taken over is forgotten


def test_a_pack_is_a_job_like_any_other(api, client, work_all):
    answer = api.post("/v1/experiments", json=PACK)
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["text"], job["model"]) == ("experiment", "Go Dogs bark", "minilm")
    again = api.post("/v1/experiments", json={**PACK, "priority": "interactive"}).json()
    assert again["coalesced"]
    work_all()
    job = api.get(job["links"]["self"]).json()
    result = job["result"]
    assert (job["status"], job["converged"], job["progress"]["done"]) == ("succeeded", True, 1)
    assert [one["tokens"] for one in result["sentences"]] == [
        ["[CLS]", "go", "[SEP]"],
        ["[CLS]", "dogs", "bark", "[SEP]"],
    ]
    assert result["sentences"][1]["relations"] == [None, "nsubj", "root", None]
    columns = result["layers"]["1"]
    assert np.shape(columns["distance"]) == np.shape(columns["converged"]) == (7, 8)
    stored = from_safetensors(client.result(job["id"], format="safetensors"))
    assert stored.load(1)["pairs.distance"].tolist() == columns["distance"]
    line = api.get(f"{job['links']['result']}?layers=1", headers={"accept": "application/x-ndjson"}).text.splitlines()[
        1
    ]
    assert json.loads(line)["maps"]["norm"] == columns["norm"]
    told = [event.name for event in client.events(job["id"]) if event.name != "progress"]
    assert told == ["queued", "started", "head", "layer", "succeeded"]
    for path, headers in (
        (f"{job['links']['result']}?targets=0", {}),
        (job["links"]["result"], {"accept": "text/html"}),
        (f"/v1/diff?a={job['id']}&b={job['id']}", {}),
    ):
        refused = api.get(path, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "job_has_no_maps"), path


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"sentences": [{"text": "Go"}] * 17}, "/sentences"),
        ({"sentences": [{"text": "Go", "words": ["Go"]}]}, "/sentences/0"),
        ({"sentences": [{"words": ["Go"], "heads": [7], "relations": ["root"]}]}, "/sentences/0"),
        ({"sentences": [{"text": " "}]}, "/sentences/0"),
        ({"pairs": ["lig_x"]}, "/pairs"),
        ({"layers": [6]}, "/layers"),
        ({"granularity": "layer"}, "/granularity"),
        ({"model": "nowhere/nothing"}, "/model"),
    ],
)
def test_what_is_wrong_with_a_pack_is_said_where_it_is(api, changed, pointer):
    refused = api.post("/v1/experiments", json={**PACK, **changed})
    assert refused.status_code == 422
    assert [fault["pointer"] for fault in refused.json()["errors"]] == [pointer]


def test_a_pack_that_is_cancelled_ends_the_run_with_what_happened(api, client, tmp_path):
    (tmp_path / "small.dep").write_text(TEXT)
    place = There(client, "minilm")
    submit = client.experiment

    def cancelled(**request):
        job = submit(**request)
        client.cancel(job["id"])
        return job

    client.experiment = cancelled
    with pytest.raises(ServiceError, match="cancelled"):
        conduct(read_corpus(tmp_path / "small.dep"), place, tmp_path / "run", PLAN)
