"""HEAD is GET without its body, wherever GET is."""

import pytest


@pytest.mark.parametrize("path", ["/livez", "/metrics", "/", "/openapi.json", "/v1/jobs", "/v1/models", "/jobs/job0"])
def test_head_answers_as_get_does_without_the_body(api, path):
    job = api.post("/v1/explain", json={"text": "a", "model": "minilm"}).json()
    path = path.replace("job0", job["id"])
    head, get = api.head(path), api.get(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    if path != "/metrics":  # whose body changes
        assert head.headers["content-length"] == str(len(get.content))


def test_of_a_result_head_tells_the_tag_and_makes_no_body(api, jobs):
    job = api.post("/v1/explain", json={"text": "a", "model": "minilm"}).json()["id"]
    jobs.finish(job, {"text": "a"})
    path = f"/v1/jobs/{job}/result"
    head = api.head(path, headers={"Accept": "application/x-ndjson"})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == "application/x-ndjson"
    assert (
        api.head(path, headers={"Accept": "application/x-ndjson", "If-None-Match": head.headers["etag"]}).status_code
        == 304
    )


def test_of_a_stream_of_events_head_does_not_wait_for_the_end(api):
    job = api.post("/v1/explain", json={"text": "a", "model": "minilm"}).json()["id"]
    head = api.head(f"/v1/jobs/{job}/events")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(("path", "status"), [("/v1/jobs/nobody", 404), ("/nowhere", 404), ("/v1/explain", 405)])
def test_where_get_fails_head_fails_alike(api, path, status):
    head = api.head(path)
    assert (head.status_code, head.content) == (status, b"")


def test_it_is_counted_and_logged_as_head(api):
    api.head("/livez")
    assert 'method="HEAD",route="/livez",status="200"} 1.0' in api.get("/metrics").text
