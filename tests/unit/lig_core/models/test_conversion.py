"""Weights from a GGUF file: exact, written once, made again when they are damaged, refused where they are others."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.numpy import load_file
from transformers import LlamaForCausalLM

from lig_core.errors import ModelNotFound, UnsupportedModel
from lig_core.models.bundled import conversion
from lig_core.models.bundled.conversion import LOCK, PARTIAL, WEIGHTS, converted_folder, place_of
from tests.models.gguf_files import CONFIG, conversion_of, tiny_llama, write
from tests.running.waiting import PATIENCE

IDENTITY = "1.0-1"
IN_A_PROCESS = """
import json, logging, resource, sys
from pathlib import Path
from lig_core.errors import LigError
from lig_core.models.bundled.conversion import Conversion, converted_folder
most, fields, package, description = json.loads(sys.argv[1])
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
if most:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
try:
    converted_folder("tiny", Conversion(**fields), Path(package), Path(description), "1.0-1")
except LigError as error:
    print(error.code, error.detail)
"""


@pytest.fixture(scope="module")
def model():
    return tiny_llama()


class Case:
    """A package with a GGUF file, config and tokenizer beside it, and a cache of its own."""

    def __init__(self, folder: Path, model: LlamaForCausalLM) -> None:
        self.package, self.description = folder / "package", folder / "description"
        self.package.mkdir()
        self.description.mkdir()
        write(model, self.package / "tiny.gguf")
        CONFIG.save_pretrained(self.description)
        (self.description / "tokenizer.json").write_text("{}")
        self.conversion = conversion_of(model, self.package / "tiny.gguf", folder)
        self.place = place_of("tiny", IDENTITY)

    def convert(self, **changed):
        wanted = dataclasses.replace(self.conversion, **changed)
        return converted_folder("tiny", wanted, self.package, self.description, IDENTITY)

    def start(self, most_bytes: int = 0) -> "subprocess.Popen[str]":
        given = [most_bytes, dataclasses.asdict(self.conversion), str(self.package), str(self.description)]
        environment = {**os.environ, "HF_ASSETS_CACHE": constants.HF_ASSETS_CACHE}
        command = [sys.executable, "-c", IN_A_PROCESS, json.dumps(given)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    def files(self):
        return sorted(file.name for file in self.place.iterdir() if file.name != LOCK)

    def stamp(self):
        return {name: (self.place / name).stat().st_ino for name in self.files()}


WHOLE = ["config.json", WEIGHTS, "tokenizer.json"]


@pytest.fixture
def case(tmp_path, model, monkeypatch):
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return Case(tmp_path, model)


def test_every_number_is_the_model_s_and_so_is_what_it_computes(case, model):
    folder = case.convert()
    assert case.files() == WHOLE
    weights = load_file(folder / WEIGHTS)
    expected = dict(model.named_parameters())
    assert weights.keys() == expected.keys()
    for name, values in weights.items():
        assert np.array_equal(values, expected[name].detach().numpy()), name
    ids = torch.arange(8)[None]
    with torch.no_grad():
        assert torch.equal(LlamaForCausalLM.from_pretrained(folder)(ids).logits, model(ids).logits)


def test_a_sound_one_is_taken_as_it_is_without_the_file_that_it_was_made_of(case):
    case.convert()
    before = case.stamp()
    (case.package / "tiny.gguf").unlink()
    case.convert()
    assert case.stamp() == before


def cut_short(folder):
    file = folder / WEIGHTS
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def one_bit(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-9] ^= 1
    (folder / WEIGHTS).write_bytes(data)


DAMAGES = {
    "cut short": cut_short,
    "one bit": one_bit,
    "a header that is none": lambda folder: (folder / WEIGHTS).write_bytes(b"\xff" * 64),
    "empty": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "weights gone": lambda folder: (folder / WEIGHTS).unlink(),
    "config gone": lambda folder: (folder / "config.json").unlink(),
    "another tokenizer": lambda folder: (folder / "tokenizer.json").write_text("[]"),
    "killed while it was written": lambda folder: (folder / WEIGHTS).rename(folder / f".{WEIGHTS}{PARTIAL}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_made_again(case, damage):
    folder = case.convert()
    whole = (folder / WEIGHTS).read_bytes()
    DAMAGES[damage](folder)
    case.convert()
    assert (folder / WEIGHTS).read_bytes() == whole
    assert case.files() == WHOLE


def test_of_processes_at_once_one_converts_and_all_have_it(case):
    processes = [case.start() for _ in range(3)]
    printed = [process.communicate(timeout=PATIENCE)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert sorted(text.count("converted tiny in") for text in printed) == [0, 0, 1]
    assert "".join(printed).count("\n") == 1
    assert case.files() == WHOLE


def test_where_the_disk_has_no_room_one_line_says_so_and_nothing_is_left(case):
    process = case.start(most_bytes=20_000)
    printed = process.communicate(timeout=PATIENCE)[0]
    assert process.returncode == 0 and printed.count("\n") == 1
    assert printed.startswith(f"model_not_found model 'tiny' could not be converted into {case.place} (")
    assert "File too large" in printed and "HF_ASSETS_CACHE" in printed
    assert WEIGHTS not in case.files() and not any(name.endswith(PARTIAL) for name in case.files())
    case.convert()
    assert case.files() == WHOLE


def test_a_cache_that_cannot_be_written_is_said(case, tmp_path):
    (tmp_path / "assets").write_text("no folder")
    with pytest.raises(ModelNotFound, match=r"could not be converted into .* \(Not a directory\); make that folder"):
        case.convert()


def test_another_file_than_the_known_one_is_refused_before_anything_is_written(case):
    with pytest.raises(UnsupportedModel, match="is not the file that model 'tiny' is made of: its SHA-256 is"):
        case.convert(source_digest="0" * 64)
    assert case.files() == []


def test_other_numbers_than_the_known_ones_are_refused(case):
    with pytest.raises(UnsupportedModel, match=f"the digest {case.conversion.weights_digest} in place of {'0' * 64}"):
        case.convert(weights_digest="0" * 64)
    assert WEIGHTS not in case.files()


def test_a_package_without_its_file_is_said(case):
    (case.package / "tiny.gguf").unlink()
    with pytest.raises(ModelNotFound, match=r"there is no .*tiny\.gguf; install it again"):
        case.convert()


def test_without_gguf_the_refusal_names_the_command(case, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UnsupportedModel, match=r"needs gguf; run: pip install 'lig-service\[tiny\]'"):
        case.convert()


def test_the_log_tells_how_long_it_took_and_how_large_it_is(case, caplog):
    with caplog.at_level(logging.INFO, conversion.__name__):
        folder = case.convert()
    (line,) = caplog.messages
    assert line.startswith("converted tiny in ") and line.endswith(f"{(folder / WEIGHTS).stat().st_size} bytes")
