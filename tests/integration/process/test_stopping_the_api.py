"""An API process that is told to stop lets go of whoever waits; another process goes on."""

import concurrent.futures
import signal

import httpx
import pytest

from service.keys.keyring import ANONYMOUS
from tests.running.waiting import PATIENCE, being_answered, wait_until

BODY = {"text": "a text that waits", "model": "minilm", "granularity": "layer"}


@pytest.mark.parametrize(
    ("method", "request_", "status"),
    [("GET", {"params": {"wait": "60"}}, 200), ("POST", {"json": BODY, "headers": {"Prefer": "wait=60"}}, 202)],
    ids=["a long-poll", "a preferred wait"],
)
def test_who_waits_is_told_how_the_job_stands_and_the_process_ends(
    start_api_process, by_hand, method, request_, status
):
    b = by_hand()
    job = b.send_one(ANONYMOUS.name)
    run = b.start()
    (stopped, process), (other, _) = start_api_process(), start_api_process()
    path = f"/v1/jobs/{job.id}" if method == "GET" else "/v1/explain"
    with (
        httpx.Client(base_url=stopped, timeout=PATIENCE) as client,
        concurrent.futures.ThreadPoolExecutor(20) as pool,
    ):
        waiting = [pool.submit(client.request, method, path, **request_) for _ in range(20)]
        wait_until(lambda: being_answered(stopped) == 20)
        assert not any(each.done() for each in waiting)
        process.send_signal(signal.SIGTERM)
        answers = [each.result() for each in waiting]  # of a connection that is cut there is none
        process.wait(PATIENCE)
    assert {answer.status_code for answer in answers} == {status}
    for answer in answers:
        assert answer.json()["status"] == ("running" if method == "GET" else "queued")
        assert int(answer.headers["retry-after"]) >= 1
    b.finish(run)
    if method == "POST":
        b.compute()
    ids = {answer.json()["id"] for answer in answers}
    assert {httpx.get(f"{other}/v1/jobs/{one}?embed=false").json()["status"] for one in ids} == {"succeeded"}
