"""smollm2 over HTTP: listed, counted by an API without torch, explained by a worker."""

import pytest
from pydantic import SecretStr

from worker.main import work
from worker.settings import Settings as WorkerSettings


@pytest.mark.smollm2
def test_a_text_is_explained(api, redis_url):
    listed = {model["id"]: model for model in api.get("/v1/models").json()["models"]}
    assert (listed["smollm2"]["num_layers"], listed["smollm2"]["refusal"]) == (30, None)
    asked = {"text": "The cat", "model": "smollm2", "granularity": "layer", "layers": [3]}
    answer = api.post("/v1/explain", json=asked)
    assert answer.status_code == 202
    work(WorkerSettings(redis_url=SecretStr(redis_url), device="cpu"), burst=True)
    job = api.get(answer.headers["location"]).json()
    assert (job["status"], job["result"]["tokens"]) == ("succeeded", ["The", "Ġcat"])
    assert job["result"]["receipt"]["revision"] == "0.1.2-1"
    beyond = api.post("/v1/explain", json={**asked, "layers": [30]})
    assert beyond.status_code == 422 and "smollm2 has layers 0 to 29" in beyond.json()["detail"]
