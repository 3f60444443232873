"""The end of a job is told to its webhook: signed, again after failures, by one process, and only where it may."""

import json
import time

import httpx
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from lig_core.serving.queue import names
from service import app as wiring
from service.jobs.redis_store import RqJobStore
from service.keys.keyring import new_key
from service.settings import Settings
from service.webhooks.deliveries import Deliveries
from tests.running.receiver import Receiver
from tests.running.waiting import PATIENCE, wait_until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = {"text": "hello", "model": "minilm"}


@pytest.fixture
def receiver():
    made = []

    def make(*statuses, **options):
        made.append(Receiver(*statuses, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def served(redis_url):
    """The API in this process, delivering what comes due."""
    opened = []

    def serve(**settings):
        found = Settings(webhook_secret=SECRET, **{"webhook_allow": ["127.0.0.1:*"], **settings})
        client = TestClient(wiring.create_app(found, RqJobStore(redis_url, found)))
        opened.append(client.__enter__())
        return client

    yield serve
    for client in opened:
        client.__exit__(None, None, None)


def left(redis):
    return redis.zcard(names.key("webhooks", "lig"))


def settled(redis):
    wait_until(lambda: left(redis) == 0)


def test_two_keys_that_ask_for_the_same_are_told_of_their_own_jobs_alone(served, work_off, receiver, redis):
    made = [new_key(name, ["explain", "read"]) for name in ("ada", "bob")]
    api = served(keys=SecretStr(json.dumps([entry.model_dump(mode="json") for _, entry in made])))
    hooks, ids = [receiver(), receiver()], []
    for hook, (key, _) in zip(hooks, made, strict=True):
        headers = {"Authorization": f"Bearer {key}"}
        ids.append(api.post("/v1/explain", json={**BODY, "webhook": hook.url}, headers=headers).json()["id"])
    work_off()
    for hook, own, other in zip(hooks, ids, ids[::-1], strict=True):
        ((_, body, _),) = hook.wait_for(1)
        assert json.loads(body)["data"]["id"] == own
        assert other not in body.decode()
    settled(redis)


@pytest.mark.parametrize(("text", "status"), [("hello", "succeeded"), ("fail", "failed")])
def test_the_end_of_a_job_is_told_with_a_signature(served, work_off, receiver, redis, text, status):
    api, hook = served(), receiver()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    job = api.post(
        "/v1/explain", json={**BODY, "text": text, "webhook": hook.url}, headers={"traceparent": trace}
    ).json()
    work_off()
    ((headers, body, path),) = hook.wait_for(1)
    told = Webhook(SECRET).verify(body, headers)
    assert path == "/hook?x=1"
    assert told["type"] == f"job.{status}"
    assert told["data"] == api.get(f"/v1/jobs/{job['id']}?embed=false").json()
    assert headers["webhook-id"] == f"msg_{job['id']}_{status}"
    assert trace.split("-")[1] in headers["traceparent"]
    settled(redis)


def test_a_cancelled_job_is_told_too(served, receiver):
    api, hook = served(), receiver()
    job = api.post("/v1/explain", json={**BODY, "webhook": hook.url}).json()
    api.post(f"/v1/jobs/{job['id']}/cancel")
    assert json.loads(hook.wait_for(1)[0][1])["type"] == "job.cancelled"


def test_every_job_of_a_shared_computation_is_told(served, work_off, receiver, redis):
    api, hook = served(), receiver()
    jobs = {api.post("/v1/explain", json={**BODY, "webhook": hook.url}).json()["id"] for _ in range(3)}
    work_off()
    assert {json.loads(body)["data"]["id"] for _, body, _ in hook.wait_for(3)} == jobs
    late = api.post("/v1/explain", json={**BODY, "webhook": hook.url})
    assert late.status_code == 200
    hook.wait_for(4)
    settled(redis)


def test_what_fails_is_told_again_with_the_same_id_and_at_last_given_up(served, work_off, receiver, redis):
    api, hook = served(webhook_retries=[0, 0]), receiver(500, 503, 500, 204)
    api.post("/v1/explain", json={**BODY, "webhook": hook.url})
    work_off()
    assert len({headers["webhook-id"] for headers, _, _ in hook.wait_for(3)}) == 1
    settled(redis)
    time.sleep(1.5)
    hook.wait_for(3)


def test_one_that_succeeds_after_a_failure_is_told_no_more(served, work_off, receiver, redis):
    api, hook = served(webhook_retries=[0, 0, 0]), receiver(500)
    api.post("/v1/explain", json={**BODY, "webhook": hook.url})
    work_off()
    hook.wait_for(2)
    settled(redis)


def test_a_receiver_that_is_gone_is_not_asked_again(served, work_off, receiver, redis):
    api, hook = served(webhook_retries=[0, 0, 0]), receiver(410)
    api.post("/v1/explain", json={**BODY, "webhook": hook.url})
    work_off()
    hook.wait_for(1)
    settled(redis)


def test_redirects_are_not_followed(served, work_off, receiver, redis):
    other = receiver()
    api, hook = served(webhook_retries=[]), receiver(307, location=other.url)
    api.post("/v1/explain", json={**BODY, "webhook": hook.url})
    work_off()
    hook.wait_for(1)
    settled(redis)
    assert not other.taken


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(served, work_off, receiver, redis, monkeypatch):
    hook = receiver()
    asked = []

    async def resolve(host, port):
        asked.append(host)
        return ["127.0.0.1"]

    monkeypatch.setattr(wiring, "Deliveries", lambda *arguments: Deliveries(*arguments, resolve=resolve))
    api = served(webhook_allow=None, webhook_retries=[])
    port = hook.host.partition(":")[2]
    answer = api.post("/v1/explain", json={**BODY, "webhook": f"https://hooks.example:{port}/"})
    assert answer.status_code == 202
    work_off()
    settled(redis)
    assert asked == ["hooks.example"]
    assert not hook.taken


def test_the_connection_goes_to_the_address_that_was_judged(served, work_off, receiver, redis, monkeypatch):
    hook = receiver()

    async def resolve(host, port):
        return ["127.0.0.1"]  # where no resolver would lead

    monkeypatch.setattr(wiring, "Deliveries", lambda *arguments: Deliveries(*arguments, resolve=resolve))
    port = hook.host.partition(":")[2]
    api = served(webhook_allow=["hooks.example"])
    api.post("/v1/explain", json={**BODY, "webhook": f"http://hooks.example:{port}/"})
    work_off()
    ((headers, _, _),) = hook.wait_for(1)
    assert headers["Host"] == f"hooks.example:{port}"


def test_two_processes_tell_each_end_once(start_api, start_worker, receiver, redis):
    hook = receiver()
    environment = {"LIG_WEBHOOK_SECRET": SECRET, "LIG_WEBHOOK_ALLOW": '["127.0.0.1:*"]'}
    one, other = start_api(**environment), start_api(**environment)
    start_worker()
    jobs = set()
    for n in range(20):
        body = {**BODY, "text": f"hello {n}", "webhook": hook.url}
        jobs.add(httpx.post(f"{(one, other)[n % 2]}/v1/explain", json=body, timeout=PATIENCE).json()["id"])
    told = [json.loads(body)["data"]["id"] for _, body, _ in hook.wait_for(20)]
    settled(redis)
    assert sorted(told) == sorted(jobs)


def test_a_claim_holds_until_its_lease_ends(redis, redis_url):
    store = RqJobStore(redis_url, Settings())
    redis.hset(names.key("job", "lig", "j"), "owner", "ada")
    redis.zadd(names.key("webhooks", "lig"), {"j": 1, "forgotten": 1})
    (claim,) = store.claim_webhooks(10, lease=30)
    assert (claim.job, claim.attempt) == ("j", 1)
    assert store.claim_webhooks(10, lease=30) == []
    assert left(redis) == 1
    redis.zincrby(names.key("webhooks", "lig"), -31, "j")  # so much later
    (second,) = store.claim_webhooks(10, lease=30)
    assert second.attempt == 2
    assert not store.settle_webhook(claim, "delivered")
    assert store.settle_webhook(second, "retried", again=0.0)
    assert store.claim_webhooks(10, lease=30)[0].attempt == 3
