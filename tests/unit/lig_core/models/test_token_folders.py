"""Folders whose tokenizers are as people have them: the right answer or a refusal, in Python and by command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lig_core import cli, explain
from lig_core.contract import parse_request
from lig_core.errors import LigError, UnsupportedModel
from lig_core.models import tokenizer_files
from lig_core.models.catalog import find_model
from service.settings import Settings
from service.submit.checks import RequestChecks
from service.submit.tokens import TokenCounter
from tests.models.token_folders import ROWS, Row, asked, bert, require_answer, with_pieces_alone


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("models") / "model"
            ROWS[name].make(made[name])
        return made[name]

    return folder_of


def as_options(ask: dict[str, Any]) -> list[str]:
    text, words = ask.pop("text"), ask.pop("merge_subwords", False)
    for name in ("layers", "target_tokens"):
        if name in ask:
            ask[name] = ",".join(map(str, ask[name]))
    options = [part for name, value in ask.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    return ["explain", text, *options, *(["--words"] if words else [])]


@pytest.mark.parametrize("name", ROWS)
def test_in_python(name: str, folder_of: Callable[[str], Path]) -> None:
    row, model = ROWS[name], str(folder_of(name))
    if row.tokens is not None:
        return require_answer(row, explain(**asked(row, model), device="cpu"))
    with pytest.raises(LigError, match=row.says) as refused:
        explain(**asked(row, model), device="cpu")
    assert refused.value.code == row.code
    return None


@pytest.mark.parametrize("name", ROWS)
def test_on_the_command_line(name: str, folder_of: Callable[[str], Path]) -> None:
    row = ROWS[name]
    done = CliRunner().invoke(cli.app, [*as_options(asked(row, str(folder_of(name)))), "--device", "cpu"])
    if row.tokens is not None:
        assert done.exit_code == 0, done.stderr
        return require_answer(row, json.loads(done.stdout))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert re.search(row.says, done.stderr)
    return None


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.code])
def test_the_api_refuses_it_before_it_is_queued(name: str, folder_of: Callable[[str], Path]) -> None:
    row, folder = ROWS[name], folder_of(name)
    checks = RequestChecks(Settings(models_folder=folder.parent), TokenCounter())
    with pytest.raises(LigError, match=row.says) as refused:
        checks.check(parse_request(asked(row, folder.name)))
    assert refused.value.code == row.code


def test_all_of_a_word_is_what_a_target_inside_it_costs(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("part of a word by words")
    ask = {"text": f"a {'z' * 40} b", "target_tokens": [9], "model": folder.name}
    checks = RequestChecks(Settings(models_folder=folder.parent), TokenCounter())
    costs = {words: checks.check(parse_request({**ask, "merge_subwords": words})) for words in (False, True)}
    assert (costs[False].targets, costs[True].targets) == (1, 41)  # "Ġ" and the letters


def test_what_a_vocabulary_needs_is_named_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_pieces_alone(tmp_path)
    absent = {"sentencepiece", "google.protobuf", "tiktoken"}
    monkeypatch.setattr(tokenizer_files, "_is_installed", lambda module: module not in absent)
    row = Row(with_pieces_alone)
    said = r"spiece\.model alone, and sentencepiece and protobuf .*pip install 'lig-service\[sentencepiece\]'"
    with pytest.raises(UnsupportedModel, match=said):
        explain(**asked(row, str(tmp_path)), device="cpu")
    done = CliRunner().invoke(cli.app, as_options(asked(row, str(tmp_path))))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert re.search(said, done.stderr)
    absent -= {"sentencepiece"}
    with pytest.raises(UnsupportedModel, match=r"and protobuf to read it is not installed"):
        explain(**asked(row, str(tmp_path)), device="cpu")
    (tmp_path / "spiece.model").write_bytes(b"IQ== 0\nIg== 1\n")  # ranks of bytes, as tiktoken has them
    with pytest.raises(UnsupportedModel, match=r"and tiktoken to read it is not"):
        explain(**asked(row, str(tmp_path)), device="cpu")


def test_a_vocabulary_beside_a_tokenizer_json_needs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bert(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"\n")
    monkeypatch.setattr(tokenizer_files, "_is_installed", lambda module: False)
    tokenizer_files.require_packages(find_model(str(tmp_path)))


def test_packages_are_found_by_the_modules_that_they_bring() -> None:
    assert tokenizer_files._is_installed("json.decoder")
    assert not tokenizer_files._is_installed("json.none")
    assert not tokenizer_files._is_installed("no_such_package.protobuf")
