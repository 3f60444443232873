"""What a config or the names of a model's files rule out is refused before anything is queued, and listed with why."""

import re

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.models.checkpoints import REFUSED, saved


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder with each case, made once."""
    folder = tmp_path_factory.mktemp("models")
    for number, case in enumerate(REFUSED.values()):
        case.make(saved(folder / f"m{number}", "bert"))
    return folder


@pytest.fixture
def here(models, jobs):
    with TestClient(create_app(Settings(models_folder=models), jobs)) as client:
        yield client


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_be_seen_before_loading_is_refused_at_once(kind, here, jobs):
    case, name = REFUSED[kind], f"m{list(REFUSED).index(kind)}"
    asked = {"text": "the cat sat", "model": name}
    if not case.shown:
        answer = here.post("/v1/explain/estimate", json=asked)
        assert answer.status_code == (422 if case.counted else 200)
        assert not case.counted or re.search(case.says, answer.json()["detail"])
        return
    for answer in (
        here.post("/v1/explain", json=asked),
        here.post("/v1/explain/estimate", json=asked),
        here.post("/v1/explain/batch", json={"texts": ["cat"], "options": {"model": name}}),
        here.get(f"/v1/models/{name}/boundaries"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_model")
        assert re.search(case.says, answer.json()["detail"])
    assert not jobs.submissions


def test_the_list_says_why_a_model_cannot_be_explained(here):
    listed = {model["id"]: model for model in here.get("/v1/models").json()["models"]}
    for number, case in enumerate(REFUSED.values()):
        found = listed[f"m{number}"]
        if case.shown:
            assert re.search(case.says, found["refusal"])
            assert found["supported_granularity"] == []
        else:
            assert found["refusal"] is None
    assert listed["minilm"]["refusal"] is None
