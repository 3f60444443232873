"""What only loading can tell of a model's files is told by the job that asked for it: 422, by name, for good."""

import re

from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.settings import Settings
from tests.models.checkpoints import REFUSED, saved
from worker.main import work
from worker.settings import Settings as WorkerSettings


def test_each_kind_of_unsound_files_fails_its_job_by_name(redis_url, tmp_path):
    cases = {f"m{k}": case for k, case in enumerate(REFUSED.values()) if not case.shown and not case.counted}
    for name, case in cases.items():
        case.make(saved(tmp_path / name, "bert"))
    settings = Settings(models_folder=tmp_path)
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as api:
        asked = {"granularity": "layer", "layers": [0]}
        jobs = {name: api.post("/v1/explain", json={"text": "cat", "model": name, **asked}) for name in cases}
        assert {answer.status_code for answer in jobs.values()} == {202}
        work(WorkerSettings(redis_url=SecretStr(redis_url), models_folder=tmp_path), burst=True)
        for name, case in cases.items():
            shown = api.get(jobs[name].headers["location"]).json()
            problem = shown["problem"]
            assert (shown["status"], shown["attempts"]) == ("failed", 1)
            assert (problem["status"], problem["code"], problem["retryable"]) == (422, "unsupported_model", False)
            assert re.search(case.says, problem["detail"])
