"""Two APIs behind the nginx of docker/, and two workers, are replaced one by one: no request fails, no job is lost."""

import json
import signal
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.running.name_server import name_server
from tests.running.waiting import ENDED, PATIENCE, wait_until

PER_SECOND = 20
VALID_SECONDS = 1
"""For so long nginx believes an address, counted in whole seconds of its clock."""
DRAIN_DELAY = VALID_SECONDS + 1
ADDRESSES = ("127.0.0.2", "127.0.0.3")
"""One for each API, with one port for both, as containers have them."""


class Traffic:
    """Requests at an even pace while the block runs: every other one a job, the others ask for the last one."""

    def __init__(self, url):
        self.texts, self.failures, self.count = {}, Counter(), 0
        self._client = httpx.Client(base_url=url, timeout=PATIENCE, limits=httpx.Limits(max_connections=None))
        self._stop, self._last = threading.Event(), None
        self._pacing = threading.Thread(target=self._pace)

    def __enter__(self):
        self._pacing.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._pacing.join()
        self._client.close()

    def _pace(self):
        due = time.monotonic()
        with ThreadPoolExecutor(PER_SECOND * 10) as pool:
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += 1 / PER_SECOND
                pool.submit(self._send, self.count)
                self.count += 1

    def _send(self, number):
        try:
            if number % 2 and self._last is not None:
                answer = self._client.get(f"/v1/jobs/{self._last}", params={"wait": 5})
            else:
                answer = self._submit(f"sleep 0.02 {number}")
        except httpx.TransportError as error:
            self.failures[repr(error)] += 1
            return
        if not answer.is_success:
            self.failures[f"{answer.status_code} {answer.text[:200]}"] += 1

    def _submit(self, text):
        answer = self._client.post("/v1/explain", json={"text": text, "model": "minilm"})
        if answer.is_success:
            self._last = answer.json()["id"]
            self.texts[self._last] = text
        return answer


@pytest.mark.slow
def test_no_request_fails_and_every_job_ends_with_its_own_answer(nginx, start_api_process, start_worker):
    with socket.create_server((ADDRESSES[0], 0)) as free:
        port = free.getsockname()[1]

    def start_api(address):
        return start_api_process(
            (address, port), LIG_DRAIN_DELAY=str(DRAIN_DELAY), LIG_ALLOWED_HOSTS=json.dumps(ADDRESSES)
        )

    probes = httpx.Client(timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0))

    def readiness(url):
        try:
            answer = probes.get(f"{url}/readyz")
        except httpx.TransportError:
            return {}
        return answer.json() if answer.is_success else {}

    def ready_addresses():
        return [address for address in ADDRESSES if readiness(f"http://{address}:{port}")]

    def both_workers_live():
        return readiness(url).get("workers") == len(workers)

    apis, workers = [start_api(address) for address in ADDRESSES], [start_worker() for _ in range(2)]
    with probes, name_server(ready_addresses) as names:
        url = nginx(
            {"RESOLVER valid=5s": f"{names} valid={VALID_SECONDS}s", "http://api:8000": f"http://api:{port}"},
        )
        wait_until(both_workers_live)
        with Traffic(url) as traffic:
            for place, address in enumerate(ADDRESSES):
                stopped = apis[place][1]
                stopped.send_signal(signal.SIGTERM)
                assert stopped.wait(PATIENCE) == 0
                apis[place] = start_api(address)
                wait_until(lambda: ready_addresses() == list(ADDRESSES))
            for place, worker in enumerate(workers):
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(PATIENCE) == 0
                workers[place] = start_worker()
                wait_until(both_workers_live)
        assert not traffic.failures
        with httpx.Client(base_url=url, timeout=PATIENCE) as client:
            ends = {job: wait_until(lambda job=job: ended(client, job)) for job in traffic.texts}
            assert Counter(end["status"] for end in ends.values()) == {"succeeded": len(traffic.texts)}
        assert {job: end["result"]["text"] for job, end in ends.items()} == traffic.texts


def ended(client, job):
    shown = client.get(f"/v1/jobs/{job}", params={"wait": 10}).json()
    return shown if shown["status"] in ENDED else None
