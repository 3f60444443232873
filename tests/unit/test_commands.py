"""What packages add to the command `lig`."""

import importlib
import tomllib

import pytest
import typer
from typer.testing import CliRunner

from lig_core import cli
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
