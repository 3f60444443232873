"""Settings as people and child processes read them."""

from pathlib import Path

from pydantic import SecretStr

from lig_core.serving.settings import as_variables, folders_of_secrets, lines
from service.settings import Settings

TOLD = [
    ("redis_url", SecretStr("redis://ada:secret@redis:6379/0")),
    ("keys", SecretStr('[{"name": "a://secret@b"}]')),
    ("folder", Path("/models")),
    ("origins", ["a", "b"]),
    ("absent", None),
]


def test_people_see_no_secret():
    shown = lines(TOLD).splitlines()
    assert shown == [
        "LIG_REDIS_URL=redis://ada:***@redis:6379/0",
        "LIG_KEYS=***",
        "LIG_FOLDER=/models",
        'LIG_ORIGINS=["a","b"]',
        "LIG_ABSENT=-",
    ]


def test_a_child_gets_everything_that_is_set():
    variables = as_variables(TOLD)
    assert variables["LIG_REDIS_URL"] == "redis://ada:secret@redis:6379/0"
    assert variables["LIG_ORIGINS"] == '["a","b"]'
    assert "LIG_ABSENT" not in variables


def test_a_secret_can_stand_in_a_file_and_a_variable_goes_before_it(tmp_path, monkeypatch):
    (tmp_path / "lig_redis_url").write_text("redis://:from-a-file@localhost\n")
    (tmp_path / "somebody_elses").write_text("x")
    assert Settings(_secrets_dir=tmp_path).redis_address == "redis://:from-a-file@localhost"
    monkeypatch.setenv("LIG_REDIS_URL", "redis://localhost")
    assert Settings(_secrets_dir=tmp_path).redis_address == "redis://localhost"


def test_only_folders_that_are_there_are_looked_into(tmp_path):
    (tmp_path / "file").touch()
    assert folders_of_secrets([str(tmp_path), "", str(tmp_path / "none"), str(tmp_path / "file")]) == [str(tmp_path)]
