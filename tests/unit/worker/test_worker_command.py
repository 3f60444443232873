"""A worker that cannot start says so in one line."""

import typer
from typer.testing import CliRunner

from worker import cli


def run(*options):
    app = typer.Typer()
    app.command()(cli.worker)
    return CliRunner().invoke(app, options)


def test_without_a_redis_it_says_where_to_get_one(monkeypatch):
    monkeypatch.delenv("LIG_REDIS_URL", raising=False)
    done = run()
    assert done.exit_code == 1
    assert "set LIG_REDIS_URL" in str(done.output)


def test_an_impossible_variable_is_named(monkeypatch):
    monkeypatch.setenv("LIG_MODEL_BUDGET", "0")
    done = run()
    assert done.exit_code == 2
    assert done.output.startswith("lig worker: settings: LIG_MODEL_BUDGET: ")


def test_a_model_to_preload_that_is_not_there_stops_it(monkeypatch, tmp_path):
    monkeypatch.setenv("LIG_REDIS_URL", f"unix://{tmp_path}/nothing")
    done = run("--models", str(tmp_path / "nowhere"))
    assert done.exit_code == 1
    assert "looks like a path" in done.output


def test_the_settings_in_force_are_printed_with_secrets_masked(monkeypatch):
    monkeypatch.setenv("LIG_REDIS_URL", "redis://ada:secret@redis:6379/0")
    monkeypatch.setenv("LIG_LEASE", "31")
    done = run("--check", "--device", "cpu")
    assert done.exit_code == 0
    printed = done.output.splitlines()
    assert {"LIG_LEASE=31.0", "LIG_DEVICE=cpu", "LIG_REDIS_URL=redis://ada:***@redis:6379/0"} <= set(printed)
