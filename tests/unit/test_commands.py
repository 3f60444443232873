"""What packages add to the command `lig`."""

import importlib
import subprocess
import sys
import tomllib

import pytest
import typer
from typer.testing import CliRunner

from lig_core import cli
from lig_core.commands.terminal import FAILED
from tests.support.places import ROOT

DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
COMMANDS = DECLARED["lig.commands"]


class Point:
    def __init__(self, name, what):
        self.name, self._what = name, what

    def load(self):
        if isinstance(self._what, Exception):
            raise self._what
        return self._what


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_is_declared_exists(name):
    module, _, attribute = COMMANDS[name].partition(":")
    assert callable(getattr(importlib.import_module(module), attribute))


def test_commands_and_groups_are_added_and_absent_parts_are_not(monkeypatch):
    group, whole = typer.Typer(), typer.Typer()
    group.command("list")(lambda: typer.echo("listed"))
    group.command("show")(lambda: typer.echo("shown"))
    points = [
        Point("one", lambda: typer.echo("one")),
        Point("group", group),
        Point("absent", ModuleNotFoundError()),
    ]
    monkeypatch.setattr(cli, "entry_points", lambda group: points)
    monkeypatch.setattr(cli, "app", whole)
    monkeypatch.setattr("sys.argv", ["lig", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    assert CliRunner().invoke(whole, ["one"]).output == "one\n"
    assert CliRunner().invoke(whole, ["group", "list"]).output == "listed\n"
    assert CliRunner().invoke(whole, ["absent"]).exit_code == 2


@pytest.mark.parametrize("command", ["view", "keys new"])
def test_commands_say_what_they_take(command):
    asked = [sys.executable, "-m", "lig_core.cli", *command.split(), "--help"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert "Usage: " in said and f" {command} " in said and "--help" in said


def test_help_imports_no_more_than_it_prints():
    heavy = {"fastapi", "httpx", "huggingface_hub", "numpy", "pydantic", "redis", "rich", "torch", "uvicorn"}
    script = (
        "import atexit, sys; sys.argv = ['lig', '--help']; from lig_core.cli import main;"
        f"atexit.register(lambda: print('imported:', *sorted({heavy} & set(sys.modules)))); main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(command in done.stdout for command in COMMANDS)
    assert done.stdout.splitlines()[-1] == "imported:"


def test_a_command_whose_packages_are_missing_says_so_in_one_line(monkeypatch, capsys):
    def needs():
        raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")

    monkeypatch.setattr(cli, "entry_points", lambda group: [Point("needs", needs)])
    monkeypatch.setattr(cli, "app", typer.Typer())
    cli.app.command("other")(lambda: None)
    monkeypatch.setattr("sys.argv", ["lig", "needs"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == FAILED
    said = capsys.readouterr().err
    assert said.startswith("lig: uvicorn is not installed") and said.count("\n") == 1
