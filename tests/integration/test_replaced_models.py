"""A model whose files are replaced while jobs for it wait or run: whose result is whose."""

import dataclasses
import json
import os

from by_hand import asked
from fastapi.testclient import TestClient

from lig_core.queue import names
from service.app import create_app
from service.rq_jobs import RqJobStore
from service.settings import Settings


def checked_against(files, digest="same"):
    return dataclasses.replace(asked(digest=digest), files=files)


def kinds(b, computation):
    return [event.kind for event in b.store.read_events(computation, None, 100).events]


def test_a_result_of_the_files_that_were_asked_for_serves_later_requests(by_hand):
    b = by_hand()
    job = b.send_one("ada", checked_against("old"))
    run = b.start()
    assert b.moves.use_files(run, "old").as_checked
    b.finish(run)
    assert b.send_one("bob", checked_against("old")).computation == job.computation


def test_a_result_of_other_files_is_that_of_the_jobs_there_are_and_of_no_later_one(by_hand):
    b = by_hand()
    job = b.send_one("ada", checked_against("old"))
    run = b.start()
    assert not b.moves.use_files(run, "new").as_checked
    other = b.send_one("bob", checked_against("old"))
    assert other.computation != job.computation
    b.finish(run)
    assert b.store.get("ada", job.id).status == "succeeded"
    assert b.send_one("eve", checked_against("old")).computation == other.computation


def test_where_the_api_saw_no_files_any_will_do(by_hand):
    b = by_hand()
    job = b.send_one("ada", checked_against(None))
    run = b.start()
    assert b.moves.use_files(run, "whatever").as_checked
    b.finish(run)
    assert b.send_one("bob", checked_against(None)).computation == job.computation


def test_layers_of_files_that_were_replaced_are_computed_again_and_told_anew(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada", checked_against("old"))
    first = b.start()
    b.moves.use_files(first, "old")
    b.add_part(first, "head", b"{}")
    b.add_layer(first, 0)
    ref = json.loads(redis.hget(names.key("computation", "lig", job.computation), "layer:0"))["ref"]
    b.moves.crashed(first.place, first.computation)
    second = b.start()
    assert b.moves.use_files(second, "new").layers == frozenset()
    assert not redis.exists(ref)
    assert kinds(b, job.computation) == ["queued", "started", "queued", "started"]
    b.finish(second)
    assert b.store.read_layer(b.store.get("ada", job.id), 0) == b"layer 0"
    assert kinds(b, job.computation)[-4:] == ["head", "layer", "layer", "succeeded"]


def test_layers_of_the_same_files_stay(by_hand):
    b = by_hand()
    b.send_one("ada", checked_against("old"))
    first = b.start()
    b.moves.use_files(first, "old")
    b.add_layer(first, 0)
    b.moves.crashed(first.place, first.computation)
    second = b.start()
    # Asked again because the answer was lost, the answer is the same.
    assert b.moves.use_files(second, "old").layers == b.moves.use_files(second, "old").layers == {0}


def test_an_attempt_without_its_lease_touches_nothing(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada", checked_against("old"))
    first = b.start()
    b.moves.use_files(first, "old")
    b.add_layer(first, 0)
    b.moves.crashed(first.place, first.computation)
    assert b.moves.use_files(first, "new") is None
    assert redis.hexists(names.key("computation", "lig", job.computation), "layer:0")


def test_a_folder_replaced_between_the_request_and_the_run_is_computed_anew_for_who_asks_later(
    redis_url, redis, work_off, tmp_path, monkeypatch
):
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert", "num_hidden_layers": 1}')
    weights, request = folder / "model.safetensors", {"text": "hello", "model": "m"}
    weights.write_bytes(b"old")
    before = weights.stat().st_mtime_ns
    settings = Settings(models_folder=tmp_path / "models")
    monkeypatch.setenv("LIG_MODELS_FOLDER", str(settings.models_folder))  # for the worker
    with TestClient(create_app(settings, RqJobStore(redis_url, settings))) as api:
        first = api.post("/explain", json=request).json()
        weights.write_bytes(b"other")
        work_off()
        assert api.get(f"/jobs/{first['id']}").json()["status"] == "succeeded"
        weights.write_bytes(b"old")  # taken back: the first result is not of these files
        os.utime(weights, ns=(before, before))
        assert api.post("/explain", json=request).status_code == 202
        work_off()
        assert api.post("/explain", json=request).status_code == 200
