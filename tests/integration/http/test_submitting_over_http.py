"""Work is posted to API processes over HTTP: shared, replayed, refused with a time to come back, all or nothing."""

import concurrent.futures
import time

import httpx

from lig_core.serving.queue import names
from tests.running.waiting import PATIENCE

BODY = {"model": "minilm", "granularity": "layer"}


def test_a_hundred_equal_posts_at_once_run_once_and_all_get_the_result(start_api, start_worker, tmp_path, redis):
    url = start_api()
    start_worker()
    with httpx.Client(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=100)) as api:

        def post(n):
            return api.post("/v1/explain", json={"text": "sleep 1", **BODY}, headers={"Prefer": "wait=50"})

        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(post, range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 100
        assert len({str(answer.json()["result"]) for answer in answers}) == 1
        assert (tmp_path / "runs").read_text() == "sleep 1\n"
        again = post(0)
        assert (again.status_code, again.json()["result"]["text"]) == (200, "sleep 1")
        fresh = api.post(
            "/v1/explain",
            json={"text": "sleep 1", **BODY},
            headers={"Prefer": "wait=50", "Cache-Control": "no-cache"},
        )
        assert fresh.status_code == 200
        assert (tmp_path / "runs").read_text() == "sleep 1\nsleep 1\n"


def test_an_idempotency_key_holds_across_processes_and_routes(start_api, redis):
    one, other = (httpx.Client(base_url=start_api(), timeout=PATIENCE) for _ in range(2))
    with one, other:
        key = {"Idempotency-Key": "k-1"}
        first = one.post("/v1/explain", json={"text": "hello", **BODY}, headers=key)
        again = other.post("/explain", json={**BODY, "text": "hello"}, headers=key)
        assert again.json()["id"] == first.json()["id"]
        assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
        for path, body in (
            ("/v1/explain", {"text": "other", **BODY}),
            ("/v1/explain/batch", {"texts": ["hello"], "options": BODY}),
        ):
            refused = other.post(path, json=body, headers=key)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_mismatch")
        assert redis.zcard(names.key("waiting", "lig")) == 1


def test_a_batch_with_one_bad_text_queues_nothing_and_a_good_one_all(start_api, redis):
    waiting = names.key("waiting", "lig")
    with httpx.Client(base_url=start_api(), timeout=PATIENCE) as api:
        bad = api.post("/v1/explain/batch", json={"texts": ["a", " ", "b"], "options": BODY})
        assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/texts/1")
        assert redis.zcard(waiting) == 0
        good = api.post("/v1/explain/batch", json={"texts": ["a", "b", "a"], "options": BODY})
        assert good.status_code == 202
        assert len({job["id"] for job in good.json()["jobs"]}) == 3
        assert redis.zcard(waiting) == 2  # equal texts are one computation
        members = redis.zrange(names.key("group", "lig", f"anonymous:{good.json()['group']}"), 0, -1)
        assert [member.decode() for member in members] == [job["id"] for job in good.json()["jobs"]]


def test_clients_that_come_back_when_they_are_told_to_all_succeed(start_api, start_worker):
    url = start_api(LIG_MAX_BACKLOG="1")
    start_worker()
    seen = []

    def insist(n):
        with httpx.Client(base_url=url, timeout=PATIENCE) as api:
            for _ in range(30):
                answer = api.post("/v1/explain", json={"text": f"sleep 0.2{n:02d}", **BODY})
                seen.append(answer.status_code)
                if answer.is_success:
                    return api.get(f"{answer.headers['location']}?wait=50").json()["status"]
                time.sleep(float(answer.headers["retry-after"]))
        return "gave up"

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert set(pool.map(insist, range(20))) == {"succeeded"}
    assert 503 in seen
    assert set(seen) <= {200, 202, 503}


def test_a_batch_that_does_not_fit_is_refused_whole_with_a_time_to_come_back(start_api, redis):
    with httpx.Client(base_url=start_api(LIG_MAX_BACKLOG="1"), timeout=PATIENCE) as api:
        assert api.post("/v1/explain", json={"text": "a text that waits", **BODY}).status_code == 202
        refused = api.post("/v1/explain/batch", json={"texts": [f"text {n}" for n in range(50)], "options": BODY})
        assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        assert redis.zcard(names.key("waiting", "lig")) == 1


def test_a_key_over_its_concurrency_is_refused_with_a_time_to_come_back(start_api):
    from service.keys.keyring import new_key

    key, entry = new_key("ada", ["explain", "read"], concurrency=2)
    url = start_api(LIG_KEYS=f"[{entry.model_dump_json()}]")
    with httpx.Client(base_url=url, timeout=PATIENCE, headers={"Authorization": f"Bearer {key}"}) as api:
        answers = [api.post("/v1/explain", json={"text": f"text {n}", **BODY}) for n in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 429]
    assert int(answers[2].headers["retry-after"]) >= 1
