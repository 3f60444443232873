"""Whatever a caller sends as a model's name, no file is touched but the models folder's and the hub cache's, no list of
allowed models lets another through, and the answer says what to do: traced, over names drawn from a grammar."""

import json
import os
import shutil
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from huggingface_hub import constants

from lig_core.errors import LigError
from lig_core.models.catalog import find_model, local_file, read_card
from lig_core.models.identity import model_identity
from lig_core.models.references import ModelReference, resolve
from service.app import create_app
from service.settings import Settings
from tests.support.drawn_names import drawn_names
from tests.support.traced_files import Traced

COMMIT = "c0ffee" + "0" * 34
CONFIG = {"model_type": "bert", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4}
NAMES = 500
ADVICE = ("send ", "mount or copy", "at most", "point at", "GET /models", "check ", "are not among", "is not among")

TRACED = Traced()


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """Models that may be read; and everywhere around them others that may not."""
    for folder in (
        "models/ok",
        "models/shelf/tiny",
        "outside",
        "linked",
        "here/shelf/tiny",
        "here/org/name",
        "here/org/other",
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text(json.dumps(CONFIG))
        (tmp_path / folder / "tokenizer_config.json").write_text("{}")
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(COMMIT)
    os.mkfifo(tmp_path / "outside" / "pipe")  # who opens it waits for ever
    (tmp_path / "models" / "link").symlink_to(tmp_path / "linked")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def touched(disk, monkeypatch):
    """Runs a function; the paths it touched that are neither in the models folder nor in the hub cache.

    Not told: a look (no more) at the folders above these two, and at where a link leads.
    """
    TRACED.looks(monkeypatch)
    rooms = [str(disk / "models"), str(disk / "hub")]
    above = {str(disk / "linked"), *(str(path) for room in rooms for path in Path(room).parents)}

    def run(function, *arguments):
        with TRACED.during() as paths:
            function(*arguments)
        return {path for path in paths - above if not any(within(path, room) for room in rooms)}

    return run


def within(path, folder):
    return path == folder or (path.startswith(f"{folder}/") and ".." not in path.split("/"))


def names_for(disk, count=NAMES, seed=1):
    outside = str(disk / "outside")
    known = ["ok/", "ok/.", "ok//", "./ok", "minilm@main", "shelf/tiny", "org/other", "org/name@/dev/zero"]
    return [
        *known,
        f"org/name@{outside}/config.json",
        f"org/name@{outside}/pipe",
        *drawn_names(count, seed, outside=outside),
    ]


@pytest.mark.parametrize("ask_hub", [True, False])
@pytest.mark.parametrize("allowed", [None, ["minilm", "ok", "org/*"]], ids=["any", "some"])
def test_over_http_no_name_reaches_another_file_or_passes_a_list_it_is_not_on(disk, jobs, touched, ask_hub, allowed):
    folder = disk / "models"
    settings = Settings(models_folder=folder, ask_hub=ask_hub, allowed_models=allowed)
    with TestClient(create_app(settings, jobs), raise_server_exceptions=False) as api:

        def send(name):
            body = json.dumps({"text": "a", "model": name})
            answers.append(api.post("/v1/explain", content=body, headers={"Content-Type": "application/json"}))

        answers = []
        send("ok")  # what is imported late is, now
        for name in names_for(disk, seed=2 * ask_hub + bool(allowed)):
            before = len(jobs.submissions)
            assert touched(send, name) == set(), name
            if answers[-1].status_code != 202:
                problem = answers[-1].json()
                status = 400 if "\ud800" in name else 422  # no JSON has half a character
                assert (problem["status"], len(jobs.submissions)) == (status, before), name
                assert any(advice in problem["detail"] for advice in ADVICE), problem
                continue
            reference, request = jobs.submissions[-1].reference, jobs.submissions[-1].request
            assert request.model == str(reference)
            assert resolve(str(reference), folder) == reference
            assert reference.kind != "folder" or reference.name in {"ok", "shelf/tiny"}, name
            assert allowed is None or reference.name in {"minilm", "ok"} or reference.name.startswith("org/"), name
        assert sum(answer.status_code == 202 for answer in answers) > 5


def test_in_a_url_no_name_reaches_another_file(disk, jobs, touched):
    settings = Settings(models_folder=disk / "models", ask_hub=False)
    with TestClient(create_app(settings, jobs), raise_server_exceptions=False) as api:

        def ask(name):
            codes.append(api.get(f"/v1/models/{quote(name, safe='')}/boundaries").status_code)

        codes = []
        ask("ok")
        for name in names_for(disk, seed=5):
            if "\ud800" not in name:  # no URL can have it
                assert touched(ask, name) == set(), name
                assert codes[-1] in {200, 404, 422}, name
        assert set(codes) == {200, 404, 422}


def test_a_worker_reaches_no_other_file(disk, touched):
    def look(name):
        try:
            reference = ModelReference.of(resolve(name, disk / "models").as_dict())
            card = read_card(reference, disk / "models")
            local_file(card, "tokenizer.json")
            model_identity(card)
            kinds.append(reference.kind)
        except LigError as error:
            kinds.append(error.code)

    kinds = []
    look("minilm")
    for name in names_for(disk, seed=6):
        assert touched(look, name) == set(), name
    assert set(kinds) == {"bundled", "folder", "hub", "invalid_request", "model_not_found"}


def test_on_this_machine_a_name_reaches_the_folder_that_it_is_a_path_to_and_no_other(disk, touched):
    def look(name):
        try:
            model_identity(find_model(name))
            codes.append("found")
        except LigError as error:
            codes.append(error.code)

    codes = []
    look("minilm")
    for name in names_for(disk, seed=7):
        path = os.path.normpath(Path.cwd() / os.path.expanduser(name))  # noqa: PTH111 - as the shell has it
        assert [each for each in touched(look, name) if not os.path.normpath(each).startswith(path)] == [], name
    assert set(codes) == {"found", "invalid_request", "model_not_found"}


def test_a_name_is_one_job_by_every_spelling(disk, jobs):
    with TestClient(create_app(Settings(models_folder=disk / "models"), jobs)) as api:
        for name in ("ok", "ok/", "ok/.", "ok//", "./ok"):
            assert api.post("/v1/explain", json={"text": "a", "model": name}).status_code == 202
    assert len({submission.work_digest for submission in jobs.submissions}) == 1
    assert {submission.request.model for submission in jobs.submissions} == {"ok"}


def test_a_hub_model_is_accepted_with_the_commit_that_is_here(disk, jobs):
    with TestClient(create_app(Settings(), jobs)) as api:
        for name in ("org/name", "org/name@main", f"org/name@{COMMIT}"):
            assert api.post("/v1/explain", json={"text": "a", "model": name}).status_code == 202
    assert [submission.identity for submission in jobs.submissions] == [COMMIT] * 3
    assert [str(submission.reference) for submission in jobs.submissions] == [
        "org/name",
        "org/name@main",
        f"org/name@{COMMIT}",
    ]


def test_a_branch_of_the_hub_is_followed_and_the_hub_seldom_asked(disk, jobs, monkeypatch):
    moved, asked = "decade" + "0" * 34, []
    repo = disk / "hub" / "models--org--name"

    def download(name, file, revision):
        asked.append((name, file, revision))
        shutil.copytree(repo / "snapshots" / COMMIT, repo / "snapshots" / moved)
        (repo / "refs" / "main").write_text(moved)
        return repo / "snapshots" / moved / file

    monkeypatch.setattr("service.submit.known_models.FRESH_SECONDS", 0.0)
    with TestClient(create_app(Settings(), jobs)) as api:
        api.post("/v1/explain", json={"text": "a", "model": "org/name"})  # the hub cannot be reached
        monkeypatch.setattr("lig_core.models.catalog.hub_has", lambda card: True)
        monkeypatch.setattr("lig_core.models.catalog.hf_hub_download", download)
        api.post("/v1/explain", json={"text": "a", "model": "org/name"})  # and is not asked again so soon
        monkeypatch.setattr("service.submit.known_models.HUB_SECONDS", 0.0)
        for name in (f"org/name@{COMMIT}", "org/name"):
            api.post("/v1/explain", json={"text": "a", "model": name})
    assert asked == [("org/name", "config.json", None)]
    assert [submission.identity for submission in jobs.submissions] == [COMMIT] * 3 + [moved]


def test_what_only_workers_have_is_accepted_as_what_they_have(jobs):
    jobs.hold_models({"tiny": "1" * 64, "new": ""})
    with TestClient(create_app(Settings(), jobs)) as api:
        for name in ("tiny", "./tiny/", "new"):
            assert api.post("/v1/explain", json={"text": "a", "model": name}).status_code == 202
        assert api.post("/v1/explain", json={"text": "a", "model": "other"}).status_code == 422
        assert api.get("/v1/models/tiny/boundaries").status_code == 404
    told = [
        (str(submission.reference), submission.reference.kind, submission.identity) for submission in jobs.submissions
    ]
    assert told == [("tiny", "folder", "1" * 64)] * 2 + [("new", "folder", None)]


def test_the_weights_that_are_not_here_are_known_from_the_workers(disk, jobs):
    """The API's folder has the config alone."""
    jobs.hold_models({"ok": "1" * 64})
    with TestClient(create_app(Settings(models_folder=disk / "models"), jobs)) as api:
        api.post("/v1/explain", json={"text": "a", "model": "ok"})
        (disk / "models" / "ok" / "model.safetensors").write_bytes(b"weights")
        api.post("/v1/explain", json={"text": "a", "model": "ok"})
    first, second = (submission.identity for submission in jobs.submissions)
    assert first == "1" * 64
    assert second == model_identity(read_card(ModelReference("folder", "ok"), disk / "models"))


def test_a_folder_that_takes_long_to_read_is_read_once_and_who_asks_comes_back(disk, jobs, monkeypatch):
    read, done = [], threading.Event()

    def slow(card):
        read.append(card.name)
        assert done.wait(60)
        return "2" * 64

    monkeypatch.setattr("service.submit.known_models.model_identity", slow)
    monkeypatch.setattr("service.submit.known_models.PATIENCE_SECONDS", 0.01)
    with TestClient(create_app(Settings(models_folder=disk / "models"), jobs)) as api:
        for _ in range(3):
            answer = api.post("/v1/explain", json={"text": "a", "model": "ok"})
            assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")
            assert int(answer.headers["retry-after"]) > 0
        assert api.get("/v1/models/ok/boundaries").status_code == 200
        monkeypatch.setattr("service.submit.known_models.PATIENCE_SECONDS", 60)
        done.set()
        assert api.post("/v1/explain", json={"text": "a", "model": "ok"}).status_code == 202
    assert jobs.submissions[-1].identity == "2" * 64
    assert len(read) <= 2
