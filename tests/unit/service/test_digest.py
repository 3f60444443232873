"""Equal work has an equal digest, other work another."""

import os
from pathlib import Path

import pytest

from lig_core.catalog import ModelCard, files_fingerprint, find_model, model_identity
from lig_core.contract import ExplainRequest
from service.digest import request_digest

CARD = ModelCard("m", "nobody/m", None, {})


def digest(**fields):
    return request_digest(ExplainRequest(text="hi", model="m", **fields), model_identity(CARD))


@pytest.mark.parametrize(
    "fields",
    [{"priority": "bulk"}, {"granularity": ["all"]}, {"granularity": ["mlp", "composed", "layer", "att"]}],
)
def test_what_changes_no_number_changes_no_digest(fields):
    assert digest(**fields) == digest()


@pytest.mark.parametrize("fields", [{"rtol": 1e-4}, {"layers": [0]}, {"labels": True}, {"dtype": "float64"}])
def test_what_changes_the_result_changes_the_digest(fields):
    assert digest(**fields) != digest()


def test_another_revision_is_another_model():
    assert model_identity(CARD) != model_identity(ModelCard("m@v2", "nobody/m", "v2", {}))


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "tokenizer.json", "vocab.txt"])
def test_a_folder_is_another_model_once_its_files_are(tmp_path, name):
    weights = tmp_path / name
    weights.write_bytes(b"a")
    card = ModelCard("m", str(tmp_path), None, {})
    before = model_identity(card)
    assert model_identity(card) == before
    os.utime(weights, ns=(1, 1))
    assert model_identity(card) != before


def test_a_file_that_goes_while_the_folder_is_looked_at_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(Path, "is_file", lambda file: True)
    card = ModelCard("m", str(tmp_path), None, {})
    assert model_identity(card) == model_identity(card)


def test_files_that_are_not_here_have_no_fingerprint(tmp_path):
    assert files_fingerprint(CARD) is None
    card = ModelCard("m", str(tmp_path), None, {})
    before = files_fingerprint(card)
    (tmp_path / "config.json").write_text("{}")
    assert len(before) == 64
    assert before != files_fingerprint(card)


def test_the_bundled_model_has_a_digest():
    request = ExplainRequest(text="hi", model="minilm")
    assert len(request_digest(request, model_identity(find_model("minilm")))) == 64
