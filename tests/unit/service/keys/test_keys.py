"""Keys: who has one, what it may do, and that it stays secret."""

import json
import logging

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from service.commands.key_admin import app
from service.keys.keyring import ANONYMOUS, Caller, Keyring, KeysError, new_key
from service.keys.source import FixedKeys, KeysFile, Open, key_source
from service.settings import Settings


def keys_of(*entries):
    return json.dumps([entry.model_dump(mode="json") for entry in entries])


def test_a_key_leads_to_its_caller():
    key, entry = new_key("ci", ["read"], rate=30.0, concurrency=2)
    assert Keyring([entry]).caller(key) == Caller("ci", frozenset({"read"}), 30.0, 2)


def test_neither_the_secret_nor_the_key_can_be_read_off_its_entry():
    key, entry = new_key("ci", ["read"])
    secret = key.split("_", 2)[2]
    assert len(secret) >= 43  # 256 bits in base64
    assert secret not in entry.model_dump_json()


def test_equal_names_and_scopes_never_make_equal_keys():
    made = [new_key("ci", ["read"]) for _ in range(20)]
    assert len({key for key, _ in made} | {entry.hash for _, entry in made} | {entry.salt for _, entry in made}) == 60


@pytest.mark.parametrize(
    "spoil",
    [
        lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
        lambda key: key + "a",
        lambda key: key.replace("lig_", "gil_"),
        lambda key: "lig_000000000000_" + key.split("_", 2)[2],
        lambda key: key.rsplit("_", 1)[0] if key.count("_") == 2 else "_".join(key.split("_", 2)[:2]),
        lambda key: "",
        lambda key: "lig_\udcff_é",
    ],
    ids=["changed", "longer", "prefix", "another id", "no secret", "empty", "not ascii"],
)
def test_anything_but_the_key_itself_is_nobody_s(spoil):
    key, entry = new_key("ci", ["read"])
    assert Keyring([entry]).caller(spoil(key)) is None


def test_two_keys_may_share_a_name_so_that_one_can_replace_the_other():
    (old, first), (new, second) = new_key("ci", ["read"]), new_key("ci", ["read"])
    keyring = Keyring([first, second])
    assert keyring.caller(old) == keyring.caller(new) == Caller("ci", frozenset({"read"}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "LIG_KEYS"),
        ('{"a": 1}', "lig keys new"),
        ('[{"id": "x", "name": "ci", "salt": "hunter2", "hash": ""}]', "/0/salt"),
    ],
)
def test_entries_that_cannot_be_used_are_named_without_their_values(text, said):
    with pytest.raises(KeysError, match=said) as caught:
        Keyring.parse(text, "LIG_KEYS")
    assert "hunter2" not in str(caught.value)


def test_the_name_of_callers_without_keys_is_taken():
    with pytest.raises(KeysError, match="anonymous"):
        Keyring.parse(keys_of(new_key("anonymous", ["read"])[1]), "LIG_KEYS")


def test_the_settings_say_where_the_keys_are(tmp_path):
    key, entry = new_key("ci", ["read"])
    (tmp_path / "keys.json").write_text(keys_of(entry))
    assert isinstance(key_source(Settings()), Open)
    assert Open().caller(None) is ANONYMOUS
    fixed = key_source(Settings(keys=SecretStr(keys_of(entry))))
    assert isinstance(fixed, FixedKeys)
    assert fixed.caller(key).name == "ci"
    assert fixed.caller(None) is None
    assert key_source(Settings(keys_file=tmp_path / "keys.json")).caller(key).name == "ci"


def test_an_empty_list_of_keys_closes_the_service_rather_than_opening_it():
    assert key_source(Settings(keys=SecretStr("[]"))).caller(None) is None
    assert Settings(keys=SecretStr("[]")).needs_keys


def test_a_keys_file_that_is_not_there_is_an_error_at_the_start(tmp_path):
    with pytest.raises(KeysError, match=r"LIG_KEYS_FILE=.*No such file"):
        KeysFile(tmp_path / "none.json")


def test_a_changed_file_is_read_again_and_a_broken_one_leaves_the_old_keys(tmp_path, caplog):
    file = tmp_path / "keys.json"
    (first_key, first), (second_key, second) = new_key("first", ["read"]), new_key("second", ["read"])
    file.write_text(keys_of(first))
    keys = KeysFile(file)
    assert keys.caller(second_key) is None

    file.write_text(keys_of(second))
    assert keys.caller(second_key).name == "second"
    assert keys.caller(first_key) is None

    with caplog.at_level(logging.WARNING):
        file.write_text(second_key)
        assert keys.caller(second_key).name == "second"
        file.unlink()
        assert keys.caller(second_key).name == "second"
    assert "stay in force" in caplog.text
    assert second_key not in caplog.text


def test_lig_keys_new_prints_the_key_once_and_the_entry_to_keep(tmp_path):
    done = CliRunner().invoke(app, ["new", "ci", "--scopes", "read,metrics", "--rate", "60", "--concurrency", "4"])
    assert done.exit_code == 0, done.output
    key = done.stdout.strip()
    entry = done.stderr.strip().splitlines()[-1]
    found = Keyring.parse(f"[{entry}]", "test").caller(key)
    assert found == Caller("ci", frozenset({"read", "metrics"}), 60.0, 4)


def test_lig_keys_new_adds_to_a_file_that_only_its_owner_can_read(tmp_path):
    file = tmp_path / "keys.json"
    made = [CliRunner().invoke(app, ["new", name, "--file", str(file)]).stdout.strip() for name in ("a", "b")]
    keys = KeysFile(file)
    assert [keys.caller(key).name for key in made] == ["a", "b"]
    assert file.stat().st_mode & 0o077 == 0
    assert not any(key in file.read_text() for key in made)


@pytest.mark.parametrize("arguments", [["two words"], ["ci", "--scopes", "fly"], ["ci", "--rate", "0"], ["anonymous"]])
def test_lig_keys_new_refuses_in_one_line_what_cannot_be(tmp_path, arguments):
    done = CliRunner().invoke(app, ["new", *arguments, "--file", str(tmp_path / "k.json")])
    assert done.exit_code == 2
    assert done.stderr.startswith("lig keys: ")
    assert not (tmp_path / "k.json").exists()
