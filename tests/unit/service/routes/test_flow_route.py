"""The flow route says what `lig_core.flow` does of the stored result, as JSON and as graphs, and what cannot be."""

import io
from dataclasses import replace

import networkx
import numpy as np
import pytest

from lig_core.flow import Flow
from lig_core.result.arrays import Result
from service.routes import flow as route
from tests.support.made_results import TOKENS, made_head, made_layer

LAYERS = (made_layer(0), made_layer(1))
HEAD = made_head(baseline_layer="itb_zero_ratio", baseline_att="zero")
LAYER_MAP = {name: array for name, array in LAYERS[0].arrays.items() if not name.startswith("composed")}
GRAPHML = {"Accept": "application/graphml+xml"}


@pytest.fixture
def stored(api, jobs):
    def store(head=HEAD, layers=LAYERS, text="The cat sat."):
        job = api.post("/v1/explain", json={"text": text, "model": "minilm"}).json()
        jobs.finish(job["id"], head, layers)
        return f"/v1/jobs/{job['id']}/flow"

    return store


def test_the_account_is_that_of_the_core(api, stored):
    options = {"map": "product", "source": 1, "target": 3, "top": 2, "normalised_by": "absolute", "self_term": "half"}
    path = stored()
    answer = api.get(path, params=options)
    assert (answer.status_code, answer.headers["vary"]) == (200, "Accept")
    flow = Flow.of(Result.of(HEAD, LAYERS), "product", normalised_by="absolute", self_term="half")
    told, paths = answer.json(), flow.paths(source=1, target=3, top=2)
    assert [path["score"] for path in told["paths"]] == [path.score for path in paths]
    assert [path["tokens"] for path in told["paths"]] == [list(path.tokens) for path in paths]
    assert told["rollout"] == flow.rollout()[-1].tolist()
    assert (told["map"], told["layers"], told["own_share"]) == ("product", [0, 1], flow.own_share)
    assert api.get(path, params={"layers": "1"}).json()["layers"] == [1]


@pytest.mark.parametrize("form", ["graphml", "node-link"])
def test_networkx_reads_the_graph(api, stored, form):
    params = {"least": 0.1, "graph": form == "node-link"}
    answer = api.get(stored(), params=params, headers=GRAPHML if form == "graphml" else {})
    if form == "graphml":
        assert answer.headers["content-type"] == GRAPHML["Accept"]
        read = networkx.read_graphml(io.BytesIO(answer.content))
    else:
        read = networkx.node_link_graph(answer.json(), edges="edges")
    flow = Flow.of(Result.of(HEAD, LAYERS))
    assert read.number_of_nodes() == 3 * len(TOKENS)
    assert read.number_of_edges() == sum(int((abs(layer.shares) > 0.1).sum()) for layer in flow.layers)
    edge = next(iter(read.edges(data=True)))[2]
    assert abs(edge["share"]) > 0.1 and edge["certified"] in (True, False)


@pytest.mark.parametrize(
    ("head", "layers", "params", "said"),
    [
        (HEAD, LAYERS, {"source": 5}, "tokens 0 to 4"),
        (HEAD, LAYERS, {"layers": "7"}, "does not hold layers 7"),
        (HEAD, (replace(LAYERS[0], arrays=LAYER_MAP),), {"map": "conserving"}, "composed"),
        (HEAD, (made_layer(0), made_layer(2)), {}, "do not follow on one another"),
        (HEAD, (made_layer(0, targets=(1, 2)),), {}, "target_tokens"),
        (HEAD, LAYERS, {"top": 0}, "greater than or equal to 1"),
        (HEAD, LAYERS, {"map": "att"}, "'layer', 'product' or 'conserving'"),
    ],
)
def test_what_cannot_be_chained_is_a_problem(api, stored, head, layers, params, said):
    answer = api.get(stored(head, layers), params=params)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert said in answer.json()["detail"]


def test_what_would_take_too_much_memory_is_refused_with_how_much_would_not(api, stored, monkeypatch):
    path = stored()
    monkeypatch.setattr(route, "MOST_CANDIDATES", 60)
    refused = api.get(path, params={"top": 3}).json()
    assert (refused["errors"][0]["pointer"], "at most 2 for a text of 5" in refused["detail"]) == ("/query/top", True)
    monkeypatch.setattr(route, "MOST_EDGES", 3)
    refused = api.get(path, params={"top": 2}, headers=GRAPHML).json()
    assert refused["errors"][0]["pointer"] == "/query/least"
    assert api.get(path, params={"top": 2, "least": 1e9}, headers=GRAPHML).status_code == 200


def test_an_itb_map_has_paths_and_no_rollout(api, stored):
    told = api.get(stored(made_head())).json()
    assert told["rollout"] is None and "itb_zero_ratio" in told["no_rollout"]
    assert np.isfinite(told["paths"][0]["score"])


def test_of_a_job_that_has_not_ended_there_is_none(api):
    job = api.post("/v1/explain", json={"text": "The cat sat.", "model": "minilm"}).json()
    assert api.get(f"/v1/jobs/{job['id']}/flow").json()["code"] == "job_not_finished"
