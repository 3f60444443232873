"""A model whose files are replaced while jobs for it wait or run: whose is the result; one model on many hosts."""

import dataclasses
import json
import os
import random
import shutil

import pytest
from fastapi.testclient import TestClient

from lig_core.models.bundled.packages import BUNDLED, bundled_identity
from lig_core.models.identity import folder_digest
from lig_core.models.references import ModelReference
from lig_core.serving.queue import names
from lig_core.serving.queue.names import Field
from service.app import create_app
from service.jobs.redis_store import RqJobStore
from service.settings import Settings
from tests.running.by_hand import asked
from worker.compute.announcing import Announcer

CONFIG = {"model_type": "bert", "num_hidden_layers": 1, "num_attention_heads": 1, "hidden_size": 4}


def accepted_with(identity, digest="same"):
    return dataclasses.replace(asked(digest=digest), identity=identity)


def made(folder, weights="weights"):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    return folder


def kinds(b, computation):
    return [event.kind for event in b.store.read_events(computation, None, 100).events]


def test_a_result_of_the_content_that_is_asked_for_serves_later_requests(by_hand):
    b = by_hand()
    job = b.send_one("ada", accepted_with("old"))
    assert b.send_one("eve", accepted_with("old")).computation == job.computation
    run = b.start()
    b.moves.use_files(run, "old")
    b.finish(run)
    assert b.send_one("bob", accepted_with("old")).computation == job.computation


def test_who_asks_for_other_content_joins_nobody(by_hand):
    b = by_hand()
    job = b.send_one("ada", accepted_with("old"))
    other = b.send_one("bob", accepted_with("new"))
    assert other.computation != job.computation
    for identity in ("old", "new"):
        run = b.start()
        b.moves.use_files(run, identity)
        b.finish(run)
    assert b.send_one("eve", accepted_with("new")).computation == other.computation


def test_of_a_batch_each_text_is_of_the_content_that_it_was_accepted_with(by_hand):
    b = by_hand()
    first, second, third = b.send("ada", *map(accepted_with, ("old", "new", "old"))).jobs
    assert first.computation == third.computation != second.computation


def test_where_the_api_does_not_know_the_content_any_will_do_and_the_first_run_says_which(by_hand):
    b = by_hand()
    job = b.send_one("ada", accepted_with(None))
    run = b.start()
    b.moves.use_files(run, "content")
    assert b.send_one("bob", accepted_with("content")).computation == job.computation
    b.finish(run)
    assert b.send_one("eve", accepted_with("content")).computation == job.computation
    assert b.send_one("joe", accepted_with(None)).computation == job.computation
    assert b.send_one("ann", accepted_with("other")).computation != job.computation


def test_who_joins_knowing_the_content_binds_the_work_to_it(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada", accepted_with(None))
    assert b.send_one("bob", accepted_with("content")).computation == job.computation
    assert redis.hget(names.key("computation", "lig", job.computation), Field.IDENTITY) == b"content"
    assert b.send_one("eve", accepted_with("other")).computation != job.computation


def test_layers_of_files_that_were_replaced_are_computed_again_and_told_anew(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada", accepted_with("old"))
    first = b.start()
    b.moves.use_files(first, "old")
    b.add_part(first, "head", b"{}")
    b.add_layer(first, 0)
    ref = json.loads(redis.hget(names.key("computation", "lig", job.computation), "layer:0"))["ref"]
    b.moves.crashed(first.place, first.computation)
    second = b.start()
    assert b.moves.use_files(second, "new") == frozenset()
    assert not redis.exists(ref)
    assert kinds(b, job.computation) == ["queued", "started", "queued", "started"]
    b.finish(second)
    assert b.store.read_layer(b.store.get("ada", job.id), 0) == b"layer 0"
    assert kinds(b, job.computation)[-4:] == ["head", "layer", "layer", "succeeded"]


def test_layers_of_the_same_files_stay(by_hand):
    b = by_hand()
    b.send_one("ada", accepted_with("old"))
    first = b.start()
    b.moves.use_files(first, "old")
    b.add_layer(first, 0)
    b.moves.crashed(first.place, first.computation)
    second = b.start()
    # Asked again because the answer was lost, the answer is the same.
    assert b.moves.use_files(second, "old") == b.moves.use_files(second, "old") == {0}


def test_an_attempt_without_its_lease_touches_nothing(by_hand, redis):
    b = by_hand()
    job = b.send_one("ada", accepted_with("old"))
    first = b.start()
    b.moves.use_files(first, "old")
    b.add_layer(first, 0)
    b.moves.crashed(first.place, first.computation)
    assert b.moves.use_files(first, "new") is None
    assert redis.hexists(names.key("computation", "lig", job.computation), "layer:0")


@pytest.fixture
def host(redis_url, monkeypatch):
    """An API of its own, over a models folder of its own; and workers have one of theirs."""

    def on(models_folder=None, **settings):
        told = Settings(models_folder=models_folder, ask_hub=False, **settings)
        return TestClient(create_app(told, RqJobStore(redis_url, told)))

    def workers(models_folder):
        monkeypatch.setenv("LIG_MODELS_FOLDER", str(models_folder))

    on.workers = workers
    return on


def computed_with(redis, job):
    computation = redis.hget(names.key("job", "lig", job), "computation").decode()
    return redis.hget(names.key("computation", "lig", computation), Field.COMPUTED_WITH)


def post(api, text="hello", model="m"):
    answer = api.post("/explain", json={"text": text, "model": model})
    assert answer.status_code in {200, 202}, answer.text
    return answer.json()


def change(how, folder, dice):
    """One thing that happens to a model while a job for it waits; whether it still is what it was."""
    weights = folder / "model.safetensors"
    if how == "replace":
        weights.write_text(f"weights of {dice.random()}")
    elif how == "replace, of the same size and time":
        stat = weights.stat()
        weights.write_text(weights.read_text()[::-1])
        os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif how == "another config":
        (folder / "config.json").write_text(json.dumps(CONFIG | {"hidden_act": f"{dice.random()}"}))
    elif how == "rename":
        folder.rename(folder.with_name(f"{folder.name}-renamed"))
    elif how == "remove":
        shutil.rmtree(folder)
    elif how == "remove the weights":
        weights.unlink()
    elif how == "another of that name":
        shutil.rmtree(folder)
        made(folder, f"other {dice.random()}")
    elif how == "a link out":
        folder.rename(folder.parents[1] / f"{folder.name}-outside")
        folder.symlink_to(folder.parents[1] / f"{folder.name}-outside")
    elif how == "touch":
        os.utime(weights, (dice.randint(1, 10**9), 1))
    elif how == "copy anew":
        shutil.copytree(folder, folder.parents[1] / f"{folder.name}-copy", copy_function=shutil.copyfile)
        shutil.rmtree(folder)
        (folder.parents[1] / f"{folder.name}-copy").rename(folder)
    elif how == "replace and restore":
        before = weights.read_text()
        weights.write_text("meanwhile")
        weights.write_text(before)
    elif how == "add a README":
        (folder / "README.md").write_text("words")
    return how in SAME


SAME = {"nothing", "touch", "copy anew", "replace and restore", "add a README"}
OTHER = {"replace", "replace, of the same size and time", "another config", "rename", "remove", "remove the weights"}
OTHER |= {"another of that name", "a link out"}


def test_whatever_happens_to_a_model_while_its_job_waits_the_job_is_of_what_it_was_accepted_with_or_fails(
    redis, host, work_off, tmp_path
):
    dice = random.Random(20261126)
    models = tmp_path / "models"
    operations = sorted(SAME | OTHER)  # each at least once, whatever is drawn
    operations += [dice.choice(operations) for _ in range(40 - len(operations))]
    dice.shuffle(operations)
    host.workers(models)
    with host(models) as api:
        waiting = {}
        for number, how in enumerate(operations):
            folder = made(models / f"m{number}", f"weights of {number}")
            waiting[number] = how, post(api, model=folder.name)["id"], folder_digest(folder)
        for number, (how, *_) in waiting.items():
            change(how, models / f"m{number}", dice)
        work_off()
        for number, (how, job, identity) in waiting.items():
            ended = api.get(f"/jobs/{job}").json()
            if how in SAME:
                assert ended["status"] == "succeeded", (how, ended)
                assert computed_with(redis, job) == identity.encode()
                continue
            assert ended["status"] == "failed", (how, ended)
            assert ended["problem"]["code"] in {"model_changed", "model_not_found", "invalid_request"}, (how, ended)
            assert f"m{number}" in ended["problem"]["detail"]
            assert any(
                advice in ended["problem"]["detail"] for advice in ("send the request again", "put it", "mount")
            ), how
            # Asked for again, it is accepted with what is there now, or refused.
            again = api.post("/explain", json={"text": "hello", "model": f"m{number}"})
            assert again.status_code == (422 if how in {"a link out"} else 202), (how, again.text)


def test_a_result_of_files_that_are_back_serves_who_asks_for_them(redis, host, work_off, tmp_path):
    weights = made(tmp_path / "models" / "m", "old") / "model.safetensors"
    host.workers(tmp_path / "models")
    with host(tmp_path / "models") as api:
        post(api)
        work_off()
        weights.write_text("new")
        assert not post(api, "other")["coalesced"]
        weights.write_text("old")
        assert post(api)["coalesced"]


def test_hosts_with_the_same_content_share_results_whatever_their_times(redis, host, work_off, tmp_path):
    made(tmp_path / "a" / "m")
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    for file in (tmp_path / "b" / "m").iterdir():
        os.utime(file, (1, 1))
    shutil.copytree(tmp_path / "a", tmp_path / "without weights")
    (tmp_path / "without weights" / "m" / "model.safetensors").unlink()
    host.workers(tmp_path / "b")
    with host(tmp_path / "a") as a, host(tmp_path / "b") as b, host(tmp_path / "without weights") as c, host() as d:
        assert not post(a)["coalesced"]
        assert post(b)["coalesced"]
        work_off()
        for api in (a, b, c, d):
            again = post(api)
            assert (again["coalesced"], again["status"]) == (True, "succeeded")


@pytest.mark.parametrize("first", ["without weights", "without a folder"])
def test_what_no_host_knew_is_established_by_the_first_job(redis, host, work_off, tmp_path, first):
    made(tmp_path / "workers" / "m")
    made(tmp_path / "without weights" / "m")
    (tmp_path / "without weights" / "m" / "model.safetensors").unlink()
    host.workers(tmp_path / "workers")
    folder = tmp_path / "without weights" if first == "without weights" else None
    announcer = Announcer(redis, "lig", tmp_path / "workers")  # as in a worker, whose own a burst may not wait for
    if folder is None:
        announcer.tell()
    with host(folder) as api, host(tmp_path / "workers") as knowing:
        assert not post(api)["coalesced"]
        work_off()
        announcer.tell()
        assert post(api)["coalesced"]
        assert post(knowing)["coalesced"]
        (tmp_path / "workers" / "m" / "model.safetensors").write_text("new")
        assert not post(knowing)["coalesced"]
        work_off()


def test_workers_tell_what_they_have_and_notice_what_becomes_of_it(redis, tmp_path):
    models = tmp_path / "models"
    for name in ("read", "named", "gone"):
        made(models / name, name)
    key = names.key("models", "lig")
    redis.hset(key, mapping={"read": "1" * 64, "gone": "2" * 64})
    shutil.rmtree(models / "gone")
    announcer = Announcer(redis, "lig", models)
    announcer.tell()
    digest = folder_digest(models / "read")
    bundled = {name.encode(): bundled_identity(name).encode() for name in BUNDLED}
    assert redis.hgetall(key) == {b"read": digest.encode(), b"named": b"", **bundled}
    assert 0 < redis.ttl(key) <= 24 * 3600
    (models / "read" / "model.safetensors").write_text("other")
    announcer.tell()
    assert redis.hget(key, "read") == folder_digest(models / "read").encode() != digest.encode()


def test_a_job_that_an_older_api_queued_runs(redis, by_hand, work_off):
    b = by_hand()
    job = b.send_one("ada", asked())
    work_off()
    assert b.store.get("ada", job.id).status == "succeeded"


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        (ModelReference("folder", "nowhere"), "model_not_found"),
        (ModelReference("folder", "../outside"), "invalid_request"),
        (ModelReference("bundled", "minilm"), "model_changed"),
        (ModelReference("hub", "nobody/nothing"), "model_not_found"),
    ],
)
def test_what_is_not_here_is_not_taken_from_elsewhere(by_hand, work_off, tmp_path, monkeypatch, reference, code):
    """A folder that is gone is not looked for on the hub, nor one of the hub under the working directory."""
    for folder in ("nowhere", "nobody/nothing"):
        made(tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    b = by_hand()
    submission = dataclasses.replace(asked(model=str(reference)), reference=reference, identity="1" * 40)
    job = b.send_one("ada", submission)
    work_off()
    ended = b.store.get("ada", job.id)
    assert (ended.status, ended.error["code"]) == ("failed", code)
