"""Log lines say what happened and to which request, and nothing that is the caller's own."""

import io
import json
import logging
import sys

import pytest
from fastapi.testclient import TestClient

from lig_core.serving import logs
from service.app import create_app
from service.settings import Settings

SECRET_TEXT = "Nobody but me may read this sentence."
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def lines(monkeypatch):
    """Configures logging and gives back what was written so far, as parsed lines."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    root = logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs.OWN_LOGGERS}
    root.handlers = []
    logs.configure("json", "info")
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, root.level = before[:2]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def served(jobs, lines):
    with TestClient(create_app(Settings(), jobs), raise_server_exceptions=False) as client:
        yield client


def test_a_request_is_one_line_with_its_ids(served, lines):
    headers = {"X-Request-Id": "abc", "traceparent": TRACE}
    job = served.post("/v1/explain", json={"text": SECRET_TEXT, "model": "minilm"}).json()
    served.get(f"/v1/jobs/{job['id']}?embed=false", headers=headers)
    line = [line for line in lines() if line["logger"] == "service.access"][-1]
    assert line.pop("time").endswith("+00:00")
    assert 0 < line.pop("seconds") < 60
    assert line == {
        "level": "info",
        "logger": "service.access",
        "message": "request",
        "request_id": "abc",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "job_id": job["id"],
        "caller": "anonymous",
        "method": "GET",
        "route": "/jobs/{job_id}",
        "status": 200,
    }
    posted, _ = [line for line in lines() if line["logger"] == "service.access"]
    assert (posted["method"], posted["job_id"]) == ("POST", job["id"])


def test_neither_the_text_nor_a_key_is_ever_logged(served, lines, jobs):
    headers = {"Authorization": "Bearer lig_000000000000_hidden"}
    served.post("/v1/explain", json={"text": SECRET_TEXT, "model": "minilm"}, headers=headers)
    served.post("/v1/explain", json={"text": SECRET_TEXT, "model": "minilm", "layers": [99]}, headers=headers)
    served.get(f"/v1/jobs/x?wait={SECRET_TEXT}", headers=headers)
    jobs.failure = RuntimeError("boom")
    served.post("/v1/explain", json={"text": SECRET_TEXT, "model": "minilm"}, headers=headers)
    assert len(lines()) >= 4
    assert SECRET_TEXT not in str(lines())
    assert "hidden" not in str(lines())


def test_a_line_from_inside_a_request_carries_its_id(served, lines, jobs):
    from service.http.errors import StoreUnavailable

    jobs.failure = StoreUnavailable("no answer")
    jobs.failure.__cause__ = OSError("refused")
    served.post("/v1/explain", json={"text": "a", "model": "minilm"}, headers={"X-Request-Id": "abc"})
    (line,) = [line for line in lines() if line["logger"] == "service.http.problems"]
    assert line["request_id"] == "abc"
    assert "store_unavailable" in line["message"]


def test_an_exception_is_one_line_with_its_traceback(lines):
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("worker.x").exception("failed", extra={"job_id": "j1", "text": SECRET_TEXT})
    (line,) = lines()
    assert (line["level"], line["job_id"]) == ("error", "j1")
    assert "ValueError: broken" in line["exception"]
    assert "text" not in line


def test_other_libraries_speak_from_warnings_on(lines):
    logging.getLogger("httpx").info("HTTP Request: …")
    logging.getLogger("uvicorn.error").warning("slow")
    logging.getLogger("service.x").info("ours")
    logging.getLogger("service.x").debug("too fine")
    assert [line["message"] for line in lines()] == ["slow", "ours"]


def test_a_line_break_cannot_forge_a_line(lines):
    logging.getLogger("service.x").warning("a\n{}")
    assert [line["message"] for line in lines()] == ["a\n{}"]


def test_lines_of_a_block_carry_its_fields_and_no_others_and_lines_after_it_none_of_them(lines):
    log = logging.getLogger("worker.x")
    with logs.only_about(job_id="j1", trace_id="t1"):
        log.info("in")
        with logs.only_about():
            log.info("beside", extra={"job_id": "j2"})
        with pytest.raises(ValueError, match="broken"), logs.only_about(job_id="j3"):
            raise ValueError("broken")
        log.info("in again")
    log.info("after")
    told = [(line["message"], line.get("job_id"), line.get("trace_id")) for line in lines()]
    assert told == [("in", "j1", "t1"), ("beside", "j2", None), ("in again", "j1", "t1"), ("after", None, None)]


def test_a_field_cannot_forge_a_line_of_text():
    record = logging.LogRecord("worker.x", logging.INFO, "f", 1, "job started", (), None)
    record.model = "a\nb"
    assert logs.TextFormatter().format(record).endswith("job started model='a\\nb'")


def test_text_lines_carry_the_same_fields():
    record = logging.LogRecord("service.access", logging.INFO, "f", 1, "request", (), None)
    record.status, record.method = 200, "GET"
    assert logs.TextFormatter().format(record).endswith("INFO service.access request method=GET status=200")


def test_a_start_is_logged_once_and_what_it_waits_for_is_not(served, jobs, lines):
    for workers in (0, 0, 1, 1):
        jobs.set_workers(workers)
        served.get("/startupz")
    served.get("/readyz")
    assert [(line["level"], line["message"].partition(":")[0]) for line in lines()] == [("info", "ready")]


def test_probes_are_not_logged_but_what_changes_their_answer_is(served, jobs, lines):
    for workers in (0, 0, 1, 1, 0):
        jobs.set_workers(workers)
        served.get("/readyz")
        served.get("/livez")
    said = [(line["level"], line["message"].partition(":")[0]) for line in lines()]
    assert said == [("warning", "not ready"), ("info", "ready"), ("warning", "not ready")]
