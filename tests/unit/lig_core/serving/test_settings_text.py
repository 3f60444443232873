"""Settings as people and child processes read them."""

from pathlib import Path

from pydantic import SecretStr

from lig_core.serving.settings import as_variables, lines

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
