"""What a name means: one rule for remote callers, one for who sits at this machine; one spelling for each model."""

from __future__ import annotations

from pathlib import Path

import pytest

from lig_core.errors import InvalidRequest, ModelNotFound
from lig_core.models.references import ModelReference, is_revision, resolve, resolve_here

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A models folder; beside it a model that no remote caller may reach, and a working directory with others."""
    for folder in ("models/ok", "models/shelf/tiny", "models/my model (1)", "outside", "here/shelf/tiny", "here/own"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "config.json").write_text("{}")
    (tmp_path / "models" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "models" / "inner").symlink_to(tmp_path / "models" / "ok")
    (tmp_path / "models" / "loop").symlink_to(tmp_path / "models" / "loop")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "models"


@pytest.mark.parametrize("name", ["ok", "ok/", "ok/.", "ok//", "./ok", ".//ok/./"])
def test_every_spelling_of_a_folder_is_one_name(models: Path, name: str) -> None:
    assert resolve(name, models) == ModelReference("folder", "ok")


@pytest.mark.parametrize(
    ("name", "kind", "model", "revision"),
    [
        ("minilm", "bundled", "minilm", None),
        ("./minilm/", "bundled", "minilm", None),
        ("shelf/tiny", "folder", "shelf/tiny", None),
        ("shelf//./tiny/", "folder", "shelf/tiny", None),
        ("my model (1)", "folder", "my model (1)", None),
        ("inner", "folder", "inner", None),
        ("gpt2", "hub", "gpt2", None),
        ("own", "hub", "own", None),  # a folder of the working directory
        ("org/name", "hub", "org/name", None),
        ("org/name@main", "hub", "org/name", "main"),
        ("org/name@refs/pr/1", "hub", "org/name", "refs/pr/1"),
        (f"org/name@{COMMIT}", "hub", "org/name", COMMIT),
    ],
)
def test_a_remote_name_means_a_bundled_model_a_folder_inside_or_one_of_the_hub(
    models: Path, name: str, kind: str, model: str, revision: str | None
) -> None:
    found = resolve(name, models)
    assert (found.kind, found.name, found.revision) == (kind, model, revision)
    assert ModelReference.of(found.as_dict()) == found
    assert resolve(str(found), models) == found


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ".",
            "./",
            "/",
            "//ok",
            "/etc",
            "~",
            "~root/x",
            "../outside",
            "ok/../../outside",
            "..",
            "ok/..",
            ".hidden",
        ),
        *(
            "a\\b",
            "C:\\models",
            "C:/models",
            "a\0b",
            "a\nb",
            "a\u202eb",
            "\ud800",
            "..%2Foutside",
            "%2fetc",
            "a?b",
            "a:b",
        ),
        *("ok@", "@main", "org/name@/etc/passwd", "org/name@../x", "org/name@a..b", "org/name@-x", "org/name@a//b"),
        *(
            "org/name@a\0",
            "org/name@a@b",
            "org/name@x.lock",
            "org/name@a b",
            "org/name@\u0430",
            "org/name@" + "a" * 101,
        ),
        *("a/b/c@main", "my model (1)@main", "x" * 97, "a/" * 150, "\uff0e\uff0e/x", "ok ", "ok."),
    ],
)
def test_what_no_model_can_be_called_is_refused_and_says_what_to_send(models: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="send ") as caught:
        resolve(name, models, pointer="/here")
    assert [error.pointer for error in caught.value.errors] == ["/here"]


@pytest.mark.parametrize("name", ["no such model", "a/b/c", "x--y", "café", "x.git"])
def test_what_is_neither_a_folder_nor_possible_on_the_hub_is_not_found(models: Path, name: str) -> None:
    with pytest.raises(ModelNotFound, match="neither in the models folder"):
        resolve(name, models)


@pytest.mark.parametrize("name", ["gpt2/", "./gpt2", "org//name"])
def test_an_id_of_the_hub_has_one_spelling_and_the_refusal_says_which(models: Path, name: str) -> None:
    with pytest.raises(ModelNotFound, match=r"for that of the hub send '(gpt2|org/name)'"):
        resolve(name, models)


@pytest.mark.parametrize("name", ["minilm@main", "ok@main", "shelf/tiny@v1"])
def test_neither_a_bundled_model_nor_a_folder_has_revisions(models: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"has no revisions; send '{name.partition('@')[0]}'"):
        resolve(name, models)


@pytest.mark.parametrize("name", ["link", "./link/"])
def test_a_link_out_of_the_models_folder_is_not_followed(models: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="leads out of the models folder"):
        resolve(name, models)


def test_a_link_to_itself_is_no_folder(models: Path) -> None:
    assert resolve("loop", models).kind == "hub"


def test_a_folder_that_only_workers_have_is_a_folder() -> None:
    assert resolve("tiny", None, {"tiny"}.__contains__) == ModelReference("folder", "tiny")
    assert resolve("tiny", None) == ModelReference("hub", "tiny")
    with pytest.raises(InvalidRequest, match="has no revisions"):
        resolve("tiny@main", None, {"tiny"}.__contains__)


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        *((name, "./shelf/tiny") for name in ("shelf/tiny", "./shelf/tiny", "shelf/tiny/", "shelf//tiny/.")),
        *((name, "../models/ok") for name in ("../models/ok", "../models/ok/")),
        ("./minilm", "./minilm"),
        ("own", "./own"),
        (".", "."),
    ],
)
def test_on_this_machine_a_relative_folder_needs_no_dot(models: Path, name: str, canonical: str) -> None:
    found = resolve_here(name)
    assert (found.kind, found.name, found.is_path) == ("folder", canonical, True)
    assert resolve_here(canonical) == found


def test_on_this_machine_an_absolute_folder_is_itself_and_a_home_is_found(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_here(f"{models}/ok/.") == ModelReference("folder", f"{models}/ok")
    monkeypatch.setenv("HOME", str(models))
    assert resolve_here("~/ok") == ModelReference("folder", f"{models}/ok")


@pytest.mark.parametrize("name", ["minilm", "gpt2", "org/name", "org/name@v1"])
def test_on_this_machine_the_other_names_mean_what_they_mean_to_the_service(models: Path, name: str) -> None:
    assert resolve_here(name) == resolve(name, models)


def test_a_folder_without_a_config_hides_no_model_of_the_hub(models: Path) -> None:
    Path("gpt2").mkdir()
    assert resolve_here("gpt2").kind == "hub"


@pytest.mark.parametrize(
    "name", ["minilm@main", "gpt2@/etc/passwd", "gpt2@", "a\0b", "\ud800", "no such model", "a/b/c"]
)
def test_on_this_machine_what_means_nothing_is_refused(models: Path, name: str) -> None:
    with pytest.raises((InvalidRequest, ModelNotFound)):
        resolve_here(name)


@pytest.mark.parametrize(
    ("kind", "name", "revision"),
    [
        *(("folder", name, None) for name in ("../outside", "/etc", "./ok", "ok/", "", ".", "link/../..")),
        *(("hub", "org/name", revision) for revision in ("/etc/passwd", "../x", "", "a@b")),
        ("hub", "/etc", None),
        ("hub", "a/b@c", None),
        ("bundled", "other", None),
        ("bundled", "minilm", "main"),
        ("pickle", "ok", None),
    ],
)
def test_a_queued_reference_that_no_api_can_have_made_is_refused(kind: str, name: str, revision: str | None) -> None:
    with pytest.raises(InvalidRequest, match="send the request again"):
        ModelReference.of({"kind": kind, "name": name, "revision": revision})


@pytest.mark.parametrize("revision", ["main", "v1.2", "refs/pr/7", "a_b-c", COMMIT])
def test_branches_tags_and_commits_are_revisions(revision: str) -> None:
    assert is_revision(revision)
