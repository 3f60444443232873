"""Two services on one Redis, told apart by their queues: to each, the other is as if it had never been."""

import contextlib
import random
import string
import sys
import time

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook
from typer.testing import CliRunner

from lig_core.serving.queue import names
from service.app import create_app
from service.commands.job_admin import app as jobs_command
from service.jobs import queue_state
from service.jobs.queue_state import QueueState
from service.jobs.redis_store import RqJobStore
from service.metrics.queue_numbers import QueueMetrics
from service.settings import Settings
from tests.running.asking import answer_about, jobs_in_every_state, never, ways_to_ask
from tests.running.by_hand import ByHand
from tests.running.monitored import Monitored
from tests.running.receiver import Receiver
from tests.support.places import CHILD
from worker import health
from worker.main import work
from worker.settings import Settings as WorkerSettings

SHARED = {"rq:workers", "rq:suspended", names.RQ_QUEUES, names.PROBE}
"""RQ's own sets of all queues: their workers' names, whether all are told to pause, and their own."""

OWNER = "anonymous"
SECRETS = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY"]
ALPHABET = string.ascii_letters + string.digits + "_-"


def two_queues(seed):
    """Names that look alike, or like something else that lies in Redis."""
    draw = random.Random(seed)
    one = draw.choice(["".join(draw.choices(ALPHABET, k=draw.randint(1, 8))), draw.choice(list(names.KEYS)), "lig"])
    others = [one + draw.choice(ALPHABET), one[:-1], one.swapcase(), draw.choice(list(names.KEYS)), f"{one}-{one}"]
    return one, draw.choice([other for other in others if other not in ("", one)])


class Service:
    """One service: its API in this process, and a worker that works off what is queued."""

    def __init__(self, redis_url, redis, queue, **settings):
        self.settings = Settings(redis_url=SecretStr(redis_url), queue=queue, **settings)
        self.redis_url, self.queue = redis_url, queue
        self.b = ByHand(redis_url, redis, queue=queue)
        self.api = TestClient(
            create_app(
                self.settings,
                RqJobStore(redis_url, self.settings),
                collectors=[QueueMetrics(redis_url, self.settings)],
            )
        )

    def call(self, method, path, **request):
        headers = {"X-Request-Id": "the-same", **(request.pop("headers", None) or {})}
        return self.api.request(method, path, headers=headers, **request)

    def post(self, text, **request):
        body = {"text": text, "model": "minilm", **request.pop("more", {})}
        return self.call("POST", "/v1/explain", json=body, **request)

    def work_off(self):
        settings = WorkerSettings(redis_url=SecretStr(self.redis_url), queue=self.queue)
        work(settings, child=[sys.executable, str(CHILD), "/dev/null"], burst=True)

    def lig(self, *arguments):
        env = {"LIG_REDIS_URL": self.redis_url, "LIG_QUEUE": self.queue}
        return CliRunner().invoke(jobs_command, arguments, env=env)


@pytest.fixture
def services(redis_url, redis, work_off):  # the last one sets signals' handlers back
    def make(seed, **settings):
        return [Service(redis_url, redis, queue, **settings) for queue in two_queues(seed)]

    return make


def live(service, draw, receiver):
    """Everything that a service does, in an order that is drawn; the same draw asks for the same."""
    texts, keys = [f"text {number}" for number in range(3)], ["key 0", "key 1"]
    known = []

    def asked(answer):
        if answer.is_success:
            known.extend(job["id"] for job in answer.json().get("jobs", [answer.json()]))

    def some(path=""):
        return f"/v1/jobs/{draw.choice(known) if known else never()}{path}"

    acts = [
        lambda: asked(service.post(draw.choice(texts))),
        lambda: asked(service.post(draw.choice(texts), headers={"Cache-Control": "no-cache"})),
        lambda: asked(service.post(draw.choice(texts), headers={"Idempotency-Key": draw.choice(keys)})),
        lambda: asked(service.post(draw.choice(texts), more={"webhook": receiver.url})),
        lambda: asked(service.post(draw.choice(["fail", "break"]))),
        lambda: asked(service.call("POST", "/v1/explain/batch", json={"texts": texts, "options": {"model": "minilm"}})),
        lambda: service.call("POST", some("/cancel")),
        lambda: service.call("DELETE", some()),
        lambda: service.call("GET", some()),
        lambda: service.call("GET", some("/result")),
        lambda: service.call("GET", "/v1/jobs"),
        lambda: service.call("GET", "/metrics"),
        lambda: service.call("GET", "/readyz"),
        lambda: service.lig("list"),
        lambda: service.lig("dead"),
        lambda: service.lig("retry", draw.choice(known) if known else never()),
        lambda: health.alive(service.b.redis, service.queue),
        service.work_off,
    ]
    draw.shuffle(acts)
    with service.api:
        for act in acts:
            act()
        service.work_off()
        for job_id in known:
            service.call("GET", f"/v1/jobs/{job_id}/events")
        deadline = time.monotonic() + 30
        while service.b.redis.zcard(names.key("webhooks", service.queue)) and time.monotonic() < deadline:
            time.sleep(0.05)
    asked(service.post(draw.choice(texts)))  # one that still waits
    return known


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_two_services_touch_no_key_and_no_channel_in_common(services, redis_url, seed):
    receivers = [Receiver(), Receiver()]
    pair = services(seed, webhook_allow=["127.0.0.1:*"], webhook_secret=SECRETS[0])
    seen, jobs = [], []
    try:
        for _ in range(2):  # the second time, each finds what the other left
            for service, receiver in zip(pair, receivers, strict=True):
                with Monitored(redis_url) as monitored:
                    jobs.append(live(service, random.Random(seed), receiver))
                seen.append(monitored)
    finally:
        for receiver in receivers:
            receiver.close()
    for own, other in ((seen[0], seen[1]), (seen[0], seen[3]), (seen[2], seen[1]), (seen[2], seen[3])):
        touched = own.keys | own.channels
        assert {key for key in touched if other.touched(key)} <= SHARED
        assert {key for key in other.keys | other.channels if own.touched(key)} <= SHARED
    for each, service in zip(seen, pair * 2, strict=True):
        rare = {"dead", "promises", "limits", "queue_limits", "canceled", "failed"}  # need luck, or limits
        for kind in set(names.KEYS) - rare:
            beginning = names.KEYS[kind].replace("{queue}", service.queue)
            assert any(key.startswith(beginning) for key in each.keys | each.channels), kind
    assert not set(jobs[0] + jobs[2]) & set(jobs[1] + jobs[3])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10, 12))
def test_a_job_of_another_service_is_like_one_that_never_was_in_every_state_by_every_route(services, seed):
    one, other = services(seed)
    own = jobs_in_every_state(other.b, OWNER)["own"].id
    with one.api, other.api:
        for state, job in jobs_in_every_state(one.b, OWNER).items():
            before = one.call("GET", f"/v1/jobs/{job.id}")
            for way in ways_to_ask():
                got = answer_about(other.call, *way, job.id, own)
                assert got == answer_about(other.call, *way, never(), own), (state, way)
                assert got[0] >= 400, (state, way)
            for act in ("show", "cancel", "retry"):
                said = {other.lig(act, job_id).output.replace(job_id, "JOB") for job_id in (job.id, never())}
                assert len(said) == 1, (state, act)
            after = one.call("GET", f"/v1/jobs/{job.id}")
            assert (before.status_code, before.content) == (after.status_code, after.content), state


def test_a_service_is_empty_and_has_no_worker_whatever_its_neighbour_does(services, redis):
    one, other = services(20, webhook_allow=["127.0.0.1:*"], webhook_secret=SECRETS[0])
    with one.api, other.api:
        one.b.worker_alive()
        one.work_off()
        for number in range(3):
            one.post(f"text {number}", more={"webhook": "http://127.0.0.1:1/"})
        one.work_off()
        one.post("fail")
        assert one.call("GET", "/readyz").status_code == 200
        assert one.lig("list").output.count("succeeded") == 3
        assert queue_state.read(redis, other.queue, max_backlog=0) == QueueState()
        assert other.call("GET", "/readyz").json()["code"] == "not_ready"
        assert other.call("GET", "/v1/jobs").json()["jobs"] == []
        assert other.lig("list").output.strip() == other.lig("dead").output.strip() == "no jobs"
        assert not health.alive(redis, other.queue)
        counted = {
            sample.name: sample.value
            for family in text_string_to_metric_families(other.call("GET", "/metrics").text)
            for sample in family.samples
            if sample.name.startswith("lig_jobs")
        }
        assert counted and not any(counted.values())


def test_the_same_work_and_the_same_idempotency_key_are_each_service_s_own(services):
    one, other = services(30)
    with one.api, other.api:
        for headers in ({}, {"Idempotency-Key": "k"}):
            first, second = (service.post("hello", headers=headers) for service in (one, other))
            assert (first.status_code, second.status_code) == (202, 202)
            assert first.json()["id"] != second.json()["id"]
            assert "idempotent-replayed" not in second.headers
        assert other.post("another text", headers={"Idempotency-Key": "k"}).status_code == 422
        other.work_off()
        told = {service.queue: service.call("GET", "/v1/jobs").json()["jobs"] for service in (one, other)}
        assert {job["status"] for job in told[other.queue]} == {"succeeded"}
        assert {job["status"] for job in told[one.queue]} == {"queued"}
        assert [job["coalesced"] for job in told[other.queue]] == [job["coalesced"] for job in told[one.queue]]


def test_each_service_signs_the_webhooks_of_its_own_jobs_alone(redis_url, redis, work_off):
    pair = [
        Service(redis_url, redis, queue, webhook_allow=["127.0.0.1:*"], webhook_secret=secret)
        for queue, secret in zip(two_queues(40), SECRETS, strict=True)
    ]
    with contextlib.ExitStack() as stack:
        receivers = [stack.enter_context(contextlib.closing(Receiver())) for _ in pair]
        for service in pair:
            stack.enter_context(service.api)
        ids = [
            {service.post(f"text {number}", more={"webhook": receiver.url}).json()["id"] for number in range(8)}
            for service, receiver in zip(pair, receivers, strict=True)
        ]
        for service in pair:
            service.work_off()
        for receiver, secret, expected in zip(receivers, SECRETS, ids, strict=True):
            told = [Webhook(secret).verify(body, headers) for headers, body, _ in receiver.wait_for(8)]
            assert {each["data"]["id"] for each in told} == expected


@pytest.mark.parametrize("settings", [Settings, WorkerSettings])
def test_a_queue_s_name_holds_nothing_that_could_reach_into_another_one_s_keys(settings):
    draw = random.Random(50)
    for _ in range(200):
        name = "".join(draw.choices(ALPHABET, k=draw.randint(0, 8)))
        at = draw.randint(0, len(name))
        with pytest.raises(ValueError, match="queue"):
            settings(queue=name[:at] + draw.choice(":*?[]{}\\\n \0/.é|%") + name[at:])
        assert settings(queue=name or "lig").queue == (name or "lig")
    for name in ("", "a" * 65):
        with pytest.raises(ValueError, match="queue"):
            settings(queue=name)


def test_no_key_of_one_queue_is_or_begins_as_one_of_another():
    draw = random.Random(60)
    for seed in range(300):
        one, other = two_queues(seed)
        for kind, beginning in names.KEYS.items():
            if kind == "computation":
                continue
            hostile = draw.choice([f"{other}:{draw.choice(list(names.KEYS))}:x", f":{other}:", "*", "x"])
            key = names.key(kind, one, hostile if beginning.endswith(":") else None)
            for theirs in names.KEYS.values():
                mine = theirs.replace("{queue}", other)
                assert key != mine and not (mine.endswith(":") and key.startswith(mine)), (one, other, key)
