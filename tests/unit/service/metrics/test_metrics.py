"""What Prometheus reads."""

import pytest
from fastapi.testclient import TestClient
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.app import create_app
from service.settings import Settings


def samples(api):
    families = text_string_to_metric_families(api.get("/metrics").text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def requests(api, method, route, status):
    labels = {"method": method, "route": route, "status": str(status)}
    return samples(api).get(("lig_http_requests_total", frozenset(labels.items())))


def test_every_documented_answer_is_there_from_the_start_at_zero(api):
    before = samples(api)
    counted = {labels: value for (name, labels), value in before.items() if name == "lig_http_requests_total"}
    assert len(counted) > 40
    assert set(counted.values()) == {0}
    assert requests(api, "POST", "/explain", 413) == 0


def test_requests_are_counted_by_route_and_never_by_id(api):
    job = api.post("/v1/explain", json={"text": "a", "model": "minilm"}).json()
    api.get(f"/v1/jobs/{job['id']}")
    api.get(f"/jobs/{job['id']}")
    api.get("/v1/jobs/nothing")
    assert requests(api, "POST", "/explain", 202) == 1
    assert requests(api, "GET", "/jobs/{job_id}", 200) == 2
    assert requests(api, "GET", "/jobs/{job_id}", 404) == 1
    page = api.get("/metrics").text
    assert job["id"] not in page
    assert "nothing" not in page


def test_what_no_route_takes_has_one_label_whatever_was_sent(api):
    for path in ("/a", "/b"):
        api.get(path)
    api.request("BREW", "/pot")
    assert requests(api, "GET", "other", 404) == 2
    assert requests(api, "OTHER", "other", 404) == 1
    assert "BREW" not in api.get("/metrics").text


def test_a_fault_counts_as_500(api, jobs):
    jobs.failure = RuntimeError("boom")
    api.post("/v1/explain", json={"text": "a", "model": "minilm"})
    assert requests(api, "POST", "/explain", 500) == 1


def test_durations_and_requests_under_way_are_there(api):
    api.get("/livez")
    found = samples(api)
    labels = frozenset({"method": "GET", "route": "/livez"}.items())
    assert found["lig_http_request_duration_seconds_count", labels] == 1
    assert 0 < found["lig_http_request_duration_seconds_sum", labels] < 10
    assert found["lig_http_requests_in_flight", frozenset()] == 1  # the one that asks


def test_two_applications_do_not_share_their_numbers(api, jobs):
    api.get("/livez")
    other = TestClient(create_app(Settings(), jobs))
    assert requests(other, "GET", "/livez", 200) == 0


def test_further_collectors_join_the_page(jobs):
    class Depth(Collector):
        def collect(self):
            yield GaugeMetricFamily("lig_queue_depth", "Waiting.", value=3)

    api = TestClient(create_app(Settings(), jobs, collectors=[Depth()]))
    assert samples(api)["lig_queue_depth", frozenset()] == 3


@pytest.mark.parametrize("path", ["/metrics"])
def test_the_page_is_prometheus_text(api, path):
    assert api.get(path).headers["content-type"].startswith("text/plain")
