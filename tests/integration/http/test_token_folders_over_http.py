"""The same folders over HTTP: refused at POST, or computed by a worker with the real engine."""

import functools
import re
import signal

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.settings import Settings
from tests.models.token_folders import ROWS, asked, require_answer
from worker.main import work
from worker.settings import Settings as WorkerSettings


@pytest.fixture(scope="module")
def models_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for number, row in enumerate(ROWS.values()):
        row.make(folder / f"m{number}")
    return folder


@pytest.fixture
def work_off(redis_url, models_folder):
    settings = WorkerSettings(redis_url=SecretStr(redis_url), models_folder=models_folder)
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT)}
    yield functools.partial(work, settings, burst=True)
    for name, handler in before.items():
        signal.signal(name, handler)


def test_every_row_is_answered_as_is_right(redis_url, models_folder, work_off):
    settings = Settings(models_folder=models_folder)
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as api:
        answers = {
            name: api.post("/v1/explain", json=asked(row, f"m{number}"))
            for number, (name, row) in enumerate(ROWS.items())
        }
        work_off()
        for name, row in ROWS.items():
            answer = answers[name]
            if row.tokens is None:
                assert (answer.status_code, answer.json()["code"]) == (422, row.code), name
                assert re.search(row.says, answer.json()["detail"]), name
            else:
                assert answer.status_code == 202, (name, answer.text)
                shown = api.get(answer.headers["location"]).json()
                assert shown["status"] == "succeeded", (name, shown)
                require_answer(row, shown["result"])
