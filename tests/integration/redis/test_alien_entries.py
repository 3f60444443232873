"""What no service put into Redis ends nobody: the job whose it is fails with a code, and all others run."""

import json
import random
import signal

import pytest

from lig_core.serving.queue import names
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.upkeep import ASIDE, keys_of_queue, server_time, tidy
from tests.running.submitting import submit
from tests.running.waiting import ended, wait_until

SEED = 20
NO_TEXT = b"\xff\xfe\x80\x04"
GARBAGE = (
    *(b"", b"alien", b"alien:attempt", b"-1", b"nan", b"inf", b"-inf", b"1e999", b"9" * 40, NO_TEXT),
    *(b"null", b"[]", b"{}", b'{"ref": 1}', b'["a"]', b'{"index": "x", "ref": "lig:alien"}', b"\x80\x04]\x94."),
    json.dumps(["tests.scripted.planted.leave_mark", None, [{}], {}]).encode(),
)
OF_A_COMPUTATION = ("computation", "claims", "events", "digest", "job")
OF_AN_OWNER = ("jobs", "live", "limits")
FIELDS = (
    *("data", "origin", "timeout", "created_at", "retries_left", "result_ttl", "failure_ttl", "expired_ttl", "digest"),
    *("cost", "work", "flow", "weight", "queued", "status", "description", "max_events", "dtype", Field.MODEL),
    *(Field.PROGRESS, Field.ERROR, Field.ATTEMPTS, Field.CANCEL_REQUESTED, Field.FORGET, Field.FIRST_JOB, Field.HEAD),
    *(f"{Field.LAYER}0", f"{Field.LAYER}x", Field.START_BY, Field.END_BY, Field.TRACEPARENT, Field.IDENTITY),
    *(Field.REFERENCE, Field.COMPUTED_WITH, "alien"),
)
ENDS = ("succeeded", "failed", "cancelled")


class Planter:
    """Plants what a seed says."""

    def __init__(self, redis):
        self.redis, self.dice = redis, random.Random(SEED)

    def garbage(self):
        return self.dice.choice(GARBAGE)

    def score(self):
        return self.dice.choice([float("-inf"), -1.0, 0.0, 1.0, 1e12, 1e308, float("inf")])

    def of_another_type(self, key):
        """In place of whatever is there."""
        self.redis.delete(key)
        kinds = {
            "string": lambda: self.redis.set(key, self.garbage()),
            "list": lambda: self.redis.rpush(key, self.garbage()),
            "hash": lambda: self.redis.hset(key, self.garbage(), self.garbage()),
            "set": lambda: self.redis.sadd(key, self.garbage()),
            "zset": lambda: self.redis.zadd(key, {self.garbage(): self.score()}),
            "stream": lambda: self.redis.xadd(key, {self.garbage(): self.garbage()}),
        }
        self.dice.choice(list(kinds.values()))()

    def among_others(self, key, of):
        """Members or fields beside what is there."""
        for _ in range(4):
            match of:
                case "zset":
                    self.redis.zadd(key, {self.garbage(): self.score()})
                case "set":
                    self.redis.sadd(key, self.garbage())
                case "list":
                    self.redis.rpush(key, self.garbage())
                case "hash":
                    there = [self.garbage(), *self.redis.hkeys(key)]
                    self.redis.hset(key, self.dice.choice(there), self.garbage())
                case "string":
                    self.redis.set(key, self.garbage())
                case "stream":
                    self.redis.xadd(key, {self.garbage(): self.garbage()})


@pytest.fixture
def plant(redis):
    return Planter(redis)


@pytest.fixture
def marked(tmp_path, monkeypatch):
    """A file that the planted callables would make."""
    monkeypatch.setenv("PLANTED_MARK", str(tmp_path / "mark"))
    return tmp_path / "mark"


def succeeds(api, text="hello"):
    shown = ended(api, submit(api, text))
    return shown.get("status") == "succeeded", shown


def pages(api, job=""):
    """What the API says; none of it is a fault of its own."""
    for path in ("/readyz", "/metrics", "/v1/jobs", *((job, f"{job}/result", f"{job}/layers/0") if job else ())):
        answer = api.get(path)
        assert answer.status_code != 500 or answer.json()["code"] == "job_damaged", (path, answer.text)


@pytest.mark.parametrize("how", ["another type", "among others"])
def test_no_alien_key_of_the_queue_ends_a_worker_or_keeps_jobs_from_running(
    api, redis, start_worker, plant, marked, how
):
    worker = start_worker(lease=2)
    assert succeeds(api)[0]
    for key, of in keys_of_queue("lig").items():
        plant.of_another_type(key) if how == "another type" else plant.among_others(key, of)
        pages(api)
        found, shown = succeeds(api)
        assert found, (key, shown)
        assert worker.poll() is None, key
    assert not marked.exists()
    wait_until(lambda: api.get("/readyz").status_code == 200)


def test_what_lay_under_a_name_of_the_service_is_renamed_and_not_lost(api, redis, start_worker):
    key = names.key("flows", "lig")
    redis.rpush(key, "somebody's")
    start_worker(lease=2)
    assert succeeds(api)[0]
    assert redis.lrange(f"{key}:{ASIDE}", 0, -1) == [b"somebody's"]


def of_computation(redis, job):
    job_id = job.rsplit("/", 1)[1]
    computation = redis.hget(names.key("job", "lig", job_id), "computation").decode()
    digest = redis.hget(names.key("computation", "lig", computation), "digest").decode()
    ids = {"job": job_id, "digest": digest}
    return computation, {kind: names.key(kind, "lig", ids.get(kind, computation)) for kind in OF_A_COMPUTATION}


@pytest.mark.parametrize("how", ["another type", "among others", "gone", "a field", "a field gone"])
def test_a_damaged_job_ends_and_all_others_run(api, redis, start_worker, plant, marked, how):
    worker = start_worker(lease=2)
    assert succeeds(api)[0]
    types = {"computation": "hash", "claims": "hash", "events": "stream", "digest": "string", "job": "hash"}
    targets = FIELDS if how.startswith("a field") else OF_A_COMPUTATION
    for target in targets:
        worker.send_signal(signal.SIGSTOP)
        job = submit(api, "hello")
        computation, keys = of_computation(redis, job)
        match how:
            case "another type":
                plant.of_another_type(keys[target])
            case "among others":
                plant.among_others(keys[target], types[target])
            case "gone":
                redis.delete(keys[target])
            case "a field":
                redis.hset(keys["computation"], target, plant.garbage())
            case "a field gone":
                redis.hdel(keys["computation"], target)
        worker.send_signal(signal.SIGCONT)
        found, shown = succeeds(api)
        assert found, (target, shown)
        assert worker.poll() is None, target
        pages(api, job)
        answer = api.get(f"{job}?wait=10")
        told = answer.json()
        assert told.get("status") in ENDS or told.get("code") in {"job_damaged", "job_not_found", "job_expired"}, (
            target,
            told,
        )
        places = {kind: redis.zrange(names.key(kind, "lig"), 0, -1) for kind in ("waiting", "popped", "leases")}
        assert not [kind for kind, found in places.items() if any(computation.encode() in each for each in found)]
    assert not marked.exists()


def test_alien_keys_of_an_owner_neither_keep_it_nor_others_from_sending(api, redis, start_worker, plant):
    worker = start_worker(lease=2)
    assert succeeds(api)[0]
    (owner,) = {key.decode().rsplit(":", 1)[1] for key in redis.keys(names.key("jobs", "lig", "*"))}
    for kind in OF_AN_OWNER:
        for _ in range(3):
            plant.of_another_type(names.key(kind, "lig", owner))
            found, shown = succeeds(api)
            assert found, (kind, shown)
    assert worker.poll() is None


def test_an_alien_part_of_a_result_is_told_of_as_such(api, redis, start_worker, plant):
    start_worker(lease=2)
    job = submit(api, "hello")
    assert ended(api, job)["status"] == "succeeded"
    for key in redis.keys(names.key("blob", "lig", "*")):
        redis.set(key, NO_TEXT)
    answer = api.get(f"{job}/result")
    assert (answer.status_code, answer.json()["code"]) == (500, "job_damaged")
    assert "send the request again" in answer.json()["detail"]


def test_alien_messages_keep_nobody_from_hearing_of_jobs(api, redis, start_worker):
    start_worker(lease=2)
    redis.publish(names.key("channel", "lig", "").encode() + NO_TEXT, NO_TEXT)
    redis.rpush(names.key("bell", "lig"), NO_TEXT)
    assert succeeds(api)[0]


def test_alien_webhooks_are_dropped(by_hand, plant):
    b = by_hand()
    plant.redis.zadd(names.key("webhooks", "lig"), {NO_TEXT: 0, "alien": 0})
    plant.redis.set(names.key("job", "lig", "string"), NO_TEXT)
    plant.redis.hset(names.key("job", "lig", "count"), "webhook_attempts", "many")
    plant.redis.zadd(names.key("webhooks", "lig"), {"string": 0, "count": 0})
    assert b.store.claim_webhooks(10, 5) == []
    assert plant.redis.zcard(names.key("webhooks", "lig")) == 0


@pytest.mark.parametrize("place", ["leases", "popped"])
def test_members_that_name_nothing_leave_where_workers_look(by_hand, plant, place):
    b = by_hand()
    for member in GARBAGE:
        plant.redis.zadd(names.key(place, "lig"), {member: 0})
    tidy(b.redis, "lig", server_time(b.redis))
    assert plant.redis.zcard(names.key(place, "lig")) == 0
