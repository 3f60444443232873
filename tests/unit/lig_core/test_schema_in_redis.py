"""One place names what lies in Redis: no script has a word of its own for a field, and no name is there for nothing."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ResponseError

import lig_core
from lig_core.serving.queue import names
from lig_core.serving.queue.names import Field
from lig_core.serving.queue.scripts import Scripts, source
from service.process.embedded import embedded_redis

ROOT = Path(lig_core.__file__).parents[1]
LUA = ROOT / "lig_core" / "serving" / "queue" / "lua"
SCRIPTS = sorted(str(path.relative_to(LUA).with_suffix("")) for path in LUA.glob("*/*.lua"))

CALL = re.compile(r"\b(?:redis\.p?call|field)\(")
FIELDS_AT = {
    **{command: slice(2, None, 2) for command in ("HSET",)},
    **{command: slice(2, None) for command in ("HGET", "HMGET", "HDEL", "HEXISTS")},
    **{command: slice(2, 3) for command in ("HSETNX", "HINCRBY", "HINCRBYFLOAT")},
    "XADD": slice(3, None, 2),
}
"""Which arguments of a command are names of fields."""


def code_of(path: Path) -> str:
    return re.sub(r"--[^\n]*", "", path.read_text())


def arguments(code: str, at: int) -> list[str]:
    """Those of the call whose bracket opened before `at`."""
    depth, quoted, found, begin = 0, False, [], at
    for i in range(at, len(code)):
        quoted ^= code[i] == "'"
        if quoted:
            continue
        depth += (code[i] in "([{") - (code[i] in ")]}")
        if depth < 0 or (depth == 0 and code[i] == ","):
            found.append(code[begin:i].strip())
            begin = i + 1
        if depth < 0:
            break
    return found


def names_of_fields(code: str) -> Iterator[str]:
    """Whatever stands where Redis takes the name of a field, as it is written."""
    for call in CALL.finditer(code):
        found = arguments(code, call.end())
        if call[0].startswith("field"):
            yield found[1]
        else:
            yield from found[FIELDS_AT.get(found[0].strip("'"), slice(0))]


@pytest.mark.parametrize("path", sorted(LUA.rglob("*.lua")), ids=lambda path: path.stem)
def test_no_script_spells_a_field_out(path):
    code = code_of(path)
    assert [name for name in names_of_fields(code) if re.fullmatch(r"'[^']*'", name)] == []
    assert set(re.findall(r"\bFIELD\.(\w+)", code)) <= {field.name.lower() for field in Field}
    assert set(re.findall(r"\bKEY\.(\w+)", code)) <= set(names.KEYS)


def test_the_search_finds_what_it_is_for():
    code = "redis.call('HSET', KEY.x .. f(a, 'b'), 'one', g('two', {3}), FIELD.x, 4) field(key, 'five')"
    assert list(names_of_fields(code)) == ["'one'", "FIELD.x", "'five'"]
    assert list(names_of_fields("redis.pcall('HMGET', k, 'a', 'b') redis.call('ZADD', k, 'c', 'd')")) == ["'a'", "'b'"]
    assert list(names_of_fields("redis.call('XADD', k, '*', 'kind', kind, 'data', d or '{}')")) == ["'kind'", "'data'"]


def test_every_name_is_used_by_python_or_by_a_script():
    python = "".join(
        path.read_text() for room in ("lig_core", "service", "worker") for path in (ROOT / room).rglob("*.py")
    )
    lua = "".join(code_of(path) for path in LUA.rglob("*.lua"))
    assert [f for f in Field if f"Field.{f.name}" not in python and f"FIELD.{f.name.lower()}" not in lua] == []
    elsewhere = python.replace(Path(names.__file__).read_text(), "")
    used = [f'key("{kind}"' in python or f'"{kind}"' in elsewhere or f"KEY.{kind}" in lua for kind in names.KEYS]
    assert [kind for kind, there in zip(names.KEYS, used, strict=True) if not there] == []
    constants = {name for name in vars(names) if name.isupper()}
    assert [name for name in constants if not re.search(rf"\b{name}\b", elsewhere)] == []


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with embedded_redis(tmp_path_factory.mktemp("redis")) as server, Redis.from_url(server.url) as connection:
        yield connection


@pytest.mark.parametrize("name", SCRIPTS)
def test_redis_can_read_every_script(redis, name):
    assert redis.script_load(source(name))


def test_a_field_that_there_is_not_ends_a_script_before_redis_is_asked(redis, monkeypatch):
    shared = source("job/look").removesuffix("return look(ARGUMENTS.jobs)\n")
    monkeypatch.setattr("lig_core.serving.queue.scripts.source", lambda name: shared + name)
    scripts = Scripts(redis, "lig")
    assert scripts.call("return redis.call('HSET', 'k', FIELD.layer, 1)") == 1
    with pytest.raises(ResponseError, match="no field misspelt"):
        scripts.call("return redis.call('HSET', 'k', FIELD.misspelt, 1)")
