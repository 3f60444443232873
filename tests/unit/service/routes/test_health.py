"""What load balancers and supervisors are told."""

import pytest
from fastapi.testclient import TestClient

from lig_core.errors import LigError
from service.app import create_app
from service.http.errors import Draining
from service.lifecycle import Lifecycle
from service.settings import Settings


class Full(LigError):
    code = "queue_full"
    retryable = True


def test_startup_is_over_once_the_service_was_ready_and_stays_so(api, jobs):
    jobs.set_workers(0)
    assert api.get("/startupz").status_code == 503
    jobs.set_workers(1)
    assert api.get("/startupz").json() == {"started": True}
    jobs.set_workers(0)
    assert api.get("/startupz").status_code == 200
    assert api.get("/readyz").status_code == 503


def test_a_process_that_stops_is_not_ready_and_takes_no_work(jobs):
    lifecycle = Lifecycle()
    api = TestClient(create_app(Settings(), jobs, lifecycle=lifecycle))
    job = api.post("/v1/explain", json={"text": "a", "model": "minilm"}).json()
    lifecycle.drain()
    for answer in (api.get("/readyz"), api.post("/v1/explain", json={"text": "a", "model": "minilm"})):
        assert answer.status_code == 503
        assert answer.json()["code"] == "draining"
        assert "retry-after" in answer.headers
    assert api.get(f"/v1/jobs/{job['id']}").status_code == 200
    assert api.get("/livez").status_code == 200


def test_further_conditions_of_readiness_can_be_given(jobs):
    def full():
        raise Full("the queue is full", retry_after=6.2)

    answer = TestClient(create_app(Settings(), jobs, checks=[full])).get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
    assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize("signal", [2, 15])
def test_a_signal_to_stop_drains(jobs, signal):
    import uvicorn

    from service.process.server import Server

    lifecycle = Lifecycle()
    server = Server(uvicorn.Config(create_app(Settings(), jobs, lifecycle=lifecycle), log_config=None), lifecycle)
    server.handle_exit(signal, None)
    assert server.should_exit
    with pytest.raises(Draining):
        lifecycle.refuse_while_draining()
