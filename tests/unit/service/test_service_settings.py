"""Settings come from LIG_ variables, and passwords stay hidden."""

import pytest
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner

from service.commands import serve
from service.settings import Settings


def test_variables_with_the_prefix_are_read(monkeypatch):
    monkeypatch.setenv("LIG_PORT", "9001")
    assert Settings().port == 9001


def test_a_child_s_environment_gives_it_the_same_settings(monkeypatch, tmp_path):
    told = Settings(redis_url=SecretStr("redis://u:pw@h/1"), data_dir=tmp_path, job_timeout=7, allowed_models=["a/*"])
    for name, value in told.as_environment().items():
        if name.startswith("LIG_"):
            monkeypatch.setenv(name, value)
    assert Settings() == told


@pytest.mark.parametrize(
    ("host", "beyond"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("example.org", True)],
)
def test_only_loopback_is_open_without_the_flag(host, beyond):
    assert bool(Settings(host=host).bind_refusal) is beyond
    assert Settings(host=host, insecure_bind=True).bind_refusal is None


def test_check_prints_settings_and_masks_the_password(monkeypatch):
    import typer

    app = typer.Typer()
    app.command()(serve.serve)
    monkeypatch.setenv("LIG_REDIS_URL", "redis://user:hunter2@example.org:6379/0")
    done = CliRunner().invoke(app, ["--check", "--port", "9002"])
    assert done.exit_code == 0
    assert "LIG_PORT=9002" in done.output
    assert "LIG_REDIS_URL=redis://user:***@example.org:6379/0" in done.output
    assert "hunter2" not in done.output


def test_check_masks_the_keys_and_names_their_file(monkeypatch, tmp_path):
    import typer

    app = typer.Typer()
    app.command()(serve.serve)
    monkeypatch.setenv("LIG_KEYS", '[{"id": "hunter2"}]')
    monkeypatch.setenv("LIG_KEYS_FILE", str(tmp_path / "keys.json"))
    monkeypatch.setenv("LIG_ALLOWED_MODELS", '["minilm", "google-bert/*"]')
    done = CliRunner().invoke(app, ["--check"])
    assert "LIG_KEYS=***" in done.output
    assert "hunter2" not in done.output
    assert f"LIG_KEYS_FILE={tmp_path}/keys.json" in done.output
    assert 'LIG_ALLOWED_MODELS=["minilm","google-bert/*"]' in done.output


def test_an_address_beyond_this_machine_is_refused_without_the_flag():
    import typer

    app = typer.Typer()
    app.command()(serve.serve)
    done = CliRunner().invoke(app, ["--host", "0.0.0.0"])
    assert done.exit_code == 2
    assert "--insecure-bind" in done.output


def test_an_impossible_variable_is_named_in_one_line(monkeypatch):
    import typer

    app = typer.Typer()
    app.command()(serve.serve)
    monkeypatch.setenv("LIG_PORT", "many")
    done = CliRunner().invoke(app, [])
    assert done.exit_code == 2
    assert done.output.startswith("lig serve: settings: LIG_PORT: ")


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError):
        Settings().port = 1
