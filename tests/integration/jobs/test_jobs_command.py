"""`lig jobs` and `lig top` over a real Redis and a worker."""

import functools
import json

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from service.commands.job_admin import app
from service.commands.top import top
from tests.running.submitting import submit
from tests.running.waiting import wait_until


@pytest.fixture
def lig(redis_url, monkeypatch):
    monkeypatch.setenv("LIG_REDIS_URL", redis_url)

    def run(*arguments):
        return CliRunner().invoke(app, arguments)

    return run


@pytest.fixture
def lig_top(lig):
    watch = Typer()
    watch.command()(top)
    return lambda: CliRunner().invoke(watch, ["--once"]).output


def id_of(job):
    return job.rsplit("/", 1)[1]


def test_ids_are_whole_in_a_pipe_and_in_a_narrow_terminal(api, lig, work_off, monkeypatch):
    job = id_of(submit(api, "hello"))
    work_off()
    assert job in lig("list").output
    monkeypatch.setattr("service.commands.tables.Console", functools.partial(Console, width=60, force_terminal=True))
    assert job in lig("list").output


@pytest.mark.parametrize("width", [1, 20, 47, 60, 80, 200])
def test_the_status_is_whole_however_narrow_the_terminal_is(api, lig, work_off, monkeypatch, width):
    done, failed = id_of(submit(api, "hello")), id_of(submit(api, "fail"))
    work_off()
    cancelled = submit(api, "hello", priority="bulk", labels=True)
    api.post(f"{cancelled}/cancel")
    monkeypatch.setattr("service.commands.tables.Console", functools.partial(Console, width=width, force_terminal=True))
    lines = lig("list").output.splitlines()
    for job, status in ((done, "succeeded"), (failed, "failed"), (id_of(cancelled), "cancelled")):
        assert any(job in line and status in line for line in lines)


def test_jobs_are_listed_by_state(api, lig, work_off):
    done, failed = submit(api, "hello"), submit(api, "fail")
    work_off()
    waiting = submit(api, "hello", priority="bulk")
    listed = lig("list").output
    assert all(id_of(job) in listed for job in (done, failed, waiting))
    only = lig("list", "--status", "failed").output
    assert id_of(failed) in only and "not_converged" in only
    assert id_of(done) not in only
    assert lig("list", "--status", "cancelled").output.strip() == "no jobs"


def test_a_job_is_shown_as_the_api_shows_it(api, lig):
    job = submit(api, "hello")
    assert json.loads(lig("show", id_of(job)).output) == api.get(job).json()


def test_a_cancelled_job_can_be_sent_again(api, lig, work_off):
    job = submit(api, "hello")
    assert lig("cancel", id_of(job)).output == f"{id_of(job)} cancelled\n"
    assert lig("retry", id_of(job)).output == f"{id_of(job)} queued\n"
    work_off()
    assert api.get(job).json()["status"] == "succeeded"
    refused = lig("retry", id_of(job))
    assert refused.exit_code == 2
    assert "only a failed or cancelled job" in refused.output


def test_dead_letters_are_listed_and_get_new_attempts(api, lig, work_off, tmp_path):
    job = submit(api, "die")
    submit(api, "fail")
    work_off()
    assert id_of(job) in lig("dead").output and lig("dead").output.count("failed") == 1
    lig("retry", id_of(job))
    assert lig("dead").output.strip() == "no jobs"
    work_off()
    assert api.get(job).json()["attempts"] == 3
    assert (tmp_path / "runs").read_text().count("die") == 6


def test_an_unknown_job_and_an_absent_redis_are_one_line(lig, monkeypatch, tmp_path):
    unknown = lig("show", "nobody")
    assert (unknown.exit_code, unknown.output.count("\n")) == (2, 1)
    monkeypatch.delenv("LIG_REDIS_URL")
    monkeypatch.setenv("LIG_DATA_DIR", str(tmp_path))
    absent = lig("list")
    assert (absent.exit_code, absent.output.count("\n")) == (2, 1)
    assert "set LIG_REDIS_URL" in absent.output


def test_without_a_url_the_embedded_redis_of_the_data_folder_is_used(redis_url, lig, monkeypatch):
    monkeypatch.delenv("LIG_REDIS_URL")
    monkeypatch.setenv("LIG_DATA_DIR", redis_url.removeprefix("unix://").removesuffix("/redis.sock"))
    assert lig("list").output.strip() == "no jobs"


def test_top_shows_the_queue_workers_with_their_models_and_running_jobs(api, lig_top, start_worker):
    worker = start_worker(LIG_PRELOAD='["minilm"]')
    wait_until(lambda: api.get("/readyz").status_code == 200)
    running, _ = submit(api, "sleep 5"), submit(api, "hello", priority="bulk")
    wait_until(lambda: api.get(running).json()["progress"]["phase"] == "computing")
    frame = lig_top()
    assert id_of(running) in frame and "computing 1/2" in frame
    (row,) = [line for line in frame.splitlines() if str(worker.pid) in line]
    assert "busy" in row and "minilm float32 1 MB" in row
    (bulk,) = [line for line in frame.splitlines() if "bulk" in line]
    assert [cell.strip() for cell in bulk.split("│")[1:4]] == ["anonymous", "bulk", "1"]
    (counts,) = [line for line in frame.splitlines() if " s of 600" in line]
    assert [cell.strip() for cell in counts.split("│")[1:4]] == ["1", "1", "0"]
