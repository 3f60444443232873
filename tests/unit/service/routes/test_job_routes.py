"""What the API shows of a job, as workers by hand make of it."""

import pytest

from lig_core.errors import NotConverged
from lig_core.serving.queue.durability import Durability


@pytest.fixture
def job(api):
    return api.post("/v1/explain", json={"text": "The cat sat.", "model": "minilm"}).json()


@pytest.mark.parametrize("path", ["/explain", "/v1/explain"])
def test_an_accepted_request_is_202_with_the_place_to_look(api, jobs, path):
    response = api.post(path, json={"text": "The cat sat.", "model": "minilm", "layers": [0]})
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/jobs/{jobs.only().id}" == response.json()["links"]["self"]
    assert response.headers["retry-after"] == "1"
    assert response.json()["status"] == "queued"
    assert jobs.submissions[0].request.layers == [0]


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_a_finished_job_carries_its_result(api, jobs, job, prefix):
    jobs.finish(job["id"], {"tokens": ["a"]})
    shown = api.get(f"{prefix}/jobs/{job['id']}").json()
    assert shown["status"] == "succeeded"
    assert shown["result"] == {"tokens": ["a"], "layers": {}, "converged": True, "columns": {}, "unconverged": []}
    assert shown["converged"] is True
    assert shown["links"]["result"] == f"/v1/jobs/{job['id']}/result"


def test_embed_false_leaves_the_result_out(api, jobs, job):
    jobs.finish(job["id"], {})
    assert "result" not in api.get(f"/v1/jobs/{job['id']}?embed=false").json()


def test_a_large_result_is_not_embedded_but_linked(api, jobs, job):
    jobs.finish(job["id"], {"text": "a" * 300_000})
    shown = api.get(f"/v1/jobs/{job['id']}").json()
    assert "result" not in shown
    assert len(api.get(shown["links"]["result"]).json()["text"]) == 300_000


def test_a_failed_job_shows_its_problem(api, jobs, job):
    jobs.fail(job["id"], NotConverged("raise rtol"))
    shown = api.get(f"/v1/jobs/{job['id']}")
    assert shown.status_code == 200
    problem = shown.json()["problem"]
    assert (problem["code"], problem["status"], problem["detail"]) == ("not_converged", 422, "raise rtol")
    assert problem["job_id"] == job["id"]


def test_the_result_of_a_failed_job_is_409_with_the_reason(api, jobs, job):
    jobs.fail(job["id"], NotConverged("raise rtol"))
    response = api.get(f"/v1/jobs/{job['id']}/result")
    assert response.status_code == 409
    assert response.json()["code"] == "job_has_no_result"
    assert "raise rtol" in response.json()["detail"]


def test_the_result_of_an_unfinished_job_is_409_and_says_how_to_wait(api, job):
    response = api.get(f"/v1/jobs/{job['id']}/result")
    assert response.status_code == 409
    assert response.json()["code"] == "job_not_finished"
    assert f"/v1/jobs/{job['id']}?wait=60" in response.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/jobs/unknown", "/v1/jobs/unknown/result", "/jobs/unknown"])
def test_an_unknown_job_is_404(api, path):
    response = api.get(path)
    assert response.status_code == 404
    assert response.json()["code"] == "job_not_found"


@pytest.mark.parametrize("prefix", ["", "/v1"])
def test_cancelling_is_202_then_200(api, job, prefix):
    path = f"{prefix}/jobs/{job['id']}"
    first, second = (api.post(f"{path}/cancel") for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["status"] == "cancelled" == api.get(path).json()["status"]
    assert first.json()["cancel_requested"]


def test_cancelling_a_job_that_ended_is_409(api, jobs, job):
    jobs.finish(job["id"], {})
    response = api.post(f"/v1/jobs/{job['id']}/cancel")
    assert response.status_code == 409
    assert response.json()["code"] == "job_ended"


def test_a_deleted_job_is_gone(api, job):
    assert api.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert api.get(f"/v1/jobs/{job['id']}").status_code == 404
    assert api.delete(f"/v1/jobs/{job['id']}").status_code == 404


def test_cancelling_an_unknown_job_is_404(api):
    assert api.post("/v1/jobs/unknown/cancel").status_code == 404


def test_without_wait_the_job_is_read_once(api, jobs, job):
    api.get(f"/v1/jobs/{job['id']}")
    assert jobs.read == 1


def test_the_service_is_ready_only_with_a_worker(api, jobs, monkeypatch):
    monkeypatch.setattr(jobs, "durability", lambda: Durability("Redis 7.4.0", "last_second", "noeviction"))
    ready = api.get("/readyz").json()
    assert (ready["ready"], ready["workers"]) == (True, 1)
    assert (ready["redis"], ready["promise"]) == ("Redis 7.4.0", "last_second")
    assert "may lose the last second" in ready["promise_meaning"]
    jobs.set_workers(0)
    response = api.get("/readyz")
    assert response.status_code == 503
    assert "lig worker" in response.json()["detail"]
    assert api.get("/livez").json() == {"alive": True}


def test_an_unfinished_job_says_when_to_look_again_and_where_it_can_be_followed(api, jobs, job):
    shown = api.get(f"/v1/jobs/{job['id']}")
    assert int(shown.headers["retry-after"]) >= 1
    url = f"/v1/jobs/{job['id']}"
    assert shown.json()["links"] == {"self": url, "result": None, "events": f"{url}/events", "cancel": f"{url}/cancel"}
    jobs.finish(job["id"], {})
    assert "retry-after" not in api.get(url).headers


def test_a_list_of_jobs_has_no_results_and_bounds_its_length(api, jobs, job):
    jobs.finish(job["id"], {"tokens": ["a"]})
    assert [shown.get("result") for shown in api.get("/v1/jobs").json()["jobs"]] == [None]
    assert api.get("/v1/jobs?limit=200").status_code == 200
    for limit in (0, 201):
        assert api.get(f"/v1/jobs?limit={limit}").json()["code"] == "invalid_request"


def test_jobs_of_one_status_alone_are_listed(api, jobs, job):
    other = api.post("/v1/explain", json={"text": "b", "model": "minilm"}).json()["id"]
    jobs.finish(other, {})
    for status, ids in {"queued": [job["id"]], "succeeded": [other], "running": []}.items():
        assert [shown["id"] for shown in api.get(f"/v1/jobs?status={status}").json()["jobs"]] == ids
    for status in ("done", ""):
        refused = api.get(f"/v1/jobs?status={status}")
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/query/status")
        assert "'running'" in refused.json()["detail"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/job0", "/v1/jobs/nobody", "/readyz", "/nowhere"])
def test_no_cache_keeps_what_is_true_for_a_moment(api, job, path):
    assert api.get(path.replace("job0", job["id"])).headers["cache-control"] == "no-store"
