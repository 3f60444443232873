"""Benchmarks and generators run seldom; what they import is looked up here, without running them."""

import ast
from pathlib import Path

import pytest

from tests.support.places import ROOT

OWN = ("lig_core", "service", "worker", "tests", "benchmarks", "generate")
SCRIPTS = sorted(path for folder in ("benchmarks", "generate") for path in (ROOT / folder).glob("*.py"))


def module_file(dotted: str) -> Path | None:
    stem = ROOT.joinpath(*dotted.split("."))
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.exists()), None)


def names_in(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_it_imports_of_ours_is_there(script):
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in OWN:
            file = module_file(node.module)
            for alias in node.names:
                inside = module_file(f"{node.module}.{alias.name}") is not None
                assert inside or (file is not None and alias.name in names_in(file)), f"{node.module}.{alias.name}"
