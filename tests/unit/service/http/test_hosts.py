"""Which hosts requests may be addressed to: no web page reads an open service by DNS rebinding."""

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from service.app import create_app
from service.process import server
from service.settings import Settings


@pytest.fixture
def ask(jobs):
    def ask(settings, host, path="/v1/jobs"):
        api = TestClient(create_app(settings, jobs, answers_to=settings.hosts))
        return api.get(path, headers={"Host": host})

    return ask


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost:1", "LocalHost", "[::1]", "[::1]:8000"])
@pytest.mark.parametrize("bind", ["127.0.0.1", "localhost", "::1"])
def test_an_open_service_answers_to_this_machine_s_own_names(ask, bind, host):
    assert ask(Settings(host=bind), host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example",
        "rebound.example:8000",
        "127.0.0.1.rebound.example",
        "localhost.rebound.example",
        "",
        "[::2]:1",
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/", "/readyz", "/nowhere"])
def test_it_answers_to_no_other_and_says_what_to_do(ask, host, path):
    answer = ask(Settings(), host, path)
    assert (answer.status_code, answer.headers["content-type"]) == (421, "application/problem+json")
    problem = answer.json()
    assert problem["code"] == "wrong_host"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "localhost" in problem["detail"]
    assert "LIG_ALLOWED_HOSTS" in problem["detail"]


def test_two_hosts_at_once_are_none(jobs):
    api = TestClient(create_app(Settings(), jobs, answers_to=Settings().hosts))
    assert api.get("/livez", headers=[("Host", "localhost"), ("Host", "rebound.example")]).status_code == 421


def test_the_address_it_listens_on_is_its_own(ask):
    assert ask(Settings(host="127.0.0.9"), "127.0.0.9:8000").status_code == 200
    assert ask(Settings(), "127.0.0.9:8000").status_code == 421


def test_a_proxy_s_names_are_answered_once_they_are_named_beside_this_machine_s_own(ask):
    settings = Settings(allowed_hosts=["lig.example.org", "*.inside.example", "[fd00::1]"])
    for host in ("lig.example.org", "LIG.example.org:443", "a.inside.example", "[fd00::1]:80", "localhost"):
        assert ask(settings, host).status_code == 200
    for host in ("other.example.org", "inside.example", "lig.example.org.other"):
        assert ask(settings, host).status_code == 421


@pytest.mark.parametrize("guarded", [{"keys": SecretStr("[]")}, {"host": "0.0.0.0", "insecure_bind": True}])
def test_with_keys_or_beyond_this_machine_any_host_will_do_until_some_are_named(ask, guarded):
    assert ask(Settings(**guarded), "lig.example.org", "/livez").status_code == 200
    named = Settings(**guarded, allowed_hosts=["lig.example.org"])
    assert ask(named, "lig.example.org", "/livez").status_code == 200
    assert ask(named, "127.0.0.1", "/livez").status_code == 200
    assert ask(named, "elsewhere.example", "/livez").status_code == 421


def test_the_server_refuses_them(monkeypatch):
    apps: list = []
    monkeypatch.setattr(server.logs, "configure", lambda *_: None)
    monkeypatch.setattr(server.Server, "run", lambda self, sockets: apps.append(self.config.app))
    server.run(Settings(redis_url=SecretStr("redis://127.0.0.1:1"), redis_timeout=0.1))
    statuses = [
        TestClient(apps[0]).get("/livez", headers={"Host": host}).status_code for host in ("localhost", "x.org")
    ]
    assert statuses == [200, 421]
