"""An experiment by a service's worker: the tables of a run in one process, bit for bit; a pack's result as it is."""

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
from pydantic import SecretStr

from lig_core.client import Client, retries
from lig_core.errors import ServiceError
from lig_core.experiment import conduct as conducting
from lig_core.experiment.conduct import Plan, conduct
from lig_core.experiment.corpora import read_corpus
from lig_core.experiment.here import Here
from lig_core.experiment.there import There
from lig_core.result.saved import from_safetensors
from tests.running.waiting import PATIENCE, being_answered, wait_until
from worker.main import work
from worker.settings import Settings as WorkerSettings

TEXT = "\n".join(
    (
        *("Dogs 2-nsubj\nbarked 0-root\n", "Unobtrusively 2-advmod\nsing 0-root\n", "Go 0-root\n"),
        *("Birds 2-nsubj\nsing 0-root\n", "Sleep 0-root\n", "They 2-nsubj\nrun 0-root\n"),
    )
)
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


def test_a_corpus_is_measured_by_a_worker_as_it_is_here_and_no_part_twice_though_the_api_is_killed(
    start_api_process, work_all, minilm, tmp_path, monkeypatch
):
    """Three times: while a run waits, as it ends, and between the parts of the one that goes on from there."""
    monkeypatch.setattr(conducting, "MOST_SENTENCES", 2)
    monkeypatch.setattr(retries, "LONGEST_BACKOFF_SECONDS", retries.BACKOFF_SECONDS)
    (tmp_path / "small.dep").write_text(TEXT)
    corpus, here, there = read_corpus(tmp_path / "small.dep"), tmp_path / "here", tmp_path / "there"
    conduct(corpus, Here(minilm), here, PLAN)
    url, api = start_api_process()

    def run(told):
        with Client(url, max_retries=0) as client:
            conduct(corpus, There(client, "minilm"), there, PLAN, progress=told)

    def kill():
        api.kill()
        api.wait()

    def end_as_it_does(progress):
        if progress.done == 2:
            kill()
            raise InterruptedError

    def killed(progress):
        if progress.done == 4:
            kill()

    def counted(name):
        (line,) = (line for line in httpx.get(f"{url}/metrics").text.splitlines() if line.startswith(f"{name} "))
        return float(line.split()[1])

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run, end_as_it_does)
        wait_until(lambda: running.done() or (counted("lig_jobs_accepted_total") == 3 and being_answered(url) == 1))
        kill()
        work_all()
        _, api = start_api_process(("127.0.0.1", httpx.URL(url).port))
        with pytest.raises(InterruptedError):
            running.result(PATIENCE)
        _, api = start_api_process(("127.0.0.1", httpx.URL(url).port))
        running = pool.submit(run, killed)
        wait_until(lambda: running.done() or api.poll() is not None)
        start_api_process(("127.0.0.1", httpx.URL(url).port))
        running.result(PATIENCE)
    for table in (*TABLES, "plots/pairs.svg", "plots/layers.svg"):
        assert (there / table).read_bytes() == (here / table).read_bytes(), table
    assert "left out: 1 (more than 5 tokens)" in (there / "report.md").read_text()
    assert counted("lig_attempts_total") == 3


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
    submit = client.experiment

    def cancelled(**request):
        job = submit(**request)
        client.cancel(job["id"])
        return job

    client.experiment = cancelled
    with pytest.raises(ServiceError, match="cancelled"):
        conduct(read_corpus(tmp_path / "small.dep"), There(client, "minilm"), tmp_path / "run", PLAN)
