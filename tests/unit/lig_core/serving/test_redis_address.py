"""Where Redis is: URLs that lead there, and those that do not, which are refused without showing their password."""

import random
import string
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from redis import SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelManagedSSLConnection
from typer import Typer
from typer.testing import CliRunner

from lig_core.serving.queue.address import BadAddress, check, connect
from lig_core.serving.settings import masked
from service.commands import job_admin, serve
from service.settings import Settings
from worker import cli as worker_cli

PRINTABLE = string.ascii_letters + string.digits + string.punctuation
HOSTS = ["localhost", "redis.example.org", "10.0.0.7", "[::1]"]


def secret_of(draw):
    return "".join(draw.choices(PRINTABLE, k=draw.randint(8, 20)))


def good(draw, secret):
    """A URL, and what redis-py is to make of it."""
    user = draw.choice(["", "ada"])
    told = {"password": secret, **({"username": user} if user else {})}
    before = f"{user}:{quote(secret, safe='')}@"
    host, port, database = draw.choice(HOSTS), draw.randint(1, 65535), draw.randint(0, 15)
    kind = draw.choice(["redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel"])
    if kind == "unix":
        return f"unix://{before}/run/a b/redis.sock?db={database}", {
            **told,
            "path": "/run/a b/redis.sock",
            "db": database,
        }
    if kind.endswith("sentinel"):
        return f"{kind}://{before}{host}:{port},{draw.choice(HOSTS)}/main/{database}", {**told, "db": database}
    address = {"host": host.strip("[]"), "port": port, "db": database}
    return f"{kind}://{before}{host}:{port}/{database}", {**told, **address}


def broken(draw, secret):
    """A URL that leads nowhere."""
    raw, encoded = secret, quote(secret, safe="")
    return draw.choice(
        [
            f"http://ada:{encoded}@h:6379/0",
            f"redis:/ada:{encoded}@h",
            f"ada:{encoded}@h:6379",
            raw.replace("://", ""),
            f" redis://:{encoded}@h",
            f"redis://:{encoded}@h:{draw.choice(['x', '0', '65536', '-1', '6379x', '１'])}",
            f"redis://:{encoded}@h:6379/{draw.choice(['x', '1x', '-1', '1/2'])}",
            f"redis://:{encoded}@[::1/0",
            f"redis://:{encoded}@h/0#{raw[:3]}",
            f"rediss://:{encoded}@h/0?{draw.choice(['db=x', 'db', 'foo=1', 'timeout=1', 'ssl_cert_reqs=x'])}",
            f"redis://:{encoded}@h/0?{draw.choice(['socket_timeout=x', 'db=1&x', '&', 'ssl_keyfile=x'])}",
            f"redis://:{encoded}@h/0?decode_responses=true",
            f"redis://:{draw.choice(['pass', '12'])}{draw.choice('/#?')}{encoded}@h:6379/0",
            f"unix://:{encoded}@tmp/redis.sock",
            f"unix://:{encoded}@",
            f"redis+sentinel://:{encoded}@h:26379",
            f"redis+sentinel://:{encoded}@h:26379/",
            f"redis+sentinel://:{encoded}@h:26379,/main",
            f"redis+sentinel://:{encoded}@h:x/main",
            f"redis+sentinel://:{encoded}@h/main/x",
            f"redis+sentinel://:{encoded}@h/main?ssl=true",
            f"redis+sentinel://:{encoded}@h/main?{draw.choice(['sentinel_foo=1', 'foo=1', 'db=x'])}",
            f"redis+cluster://:{encoded}@h",
        ]
    )


@pytest.mark.parametrize("seed", range(100))
def test_a_url_leads_where_it_says_and_is_shown_without_its_password(seed):
    draw = random.Random(seed)
    secret = secret_of(draw)
    url, expected = good(draw, secret)
    check(url)
    with connect(url, socket_timeout=3.0) as redis:
        options = redis.connection_pool.connection_kwargs
    assert expected.items() <= options.items()
    assert options["socket_timeout"] == 3.0
    (shown,) = masked([("redis_url", SecretStr(url))]).values()
    assert secret not in shown and quote(secret, safe="") not in shown
    assert shown.partition("://")[0] == url.partition("://")[0] and shown.rpartition("@")[2] == url.rpartition("@")[2]


def test_schemes_say_how_to_connect():
    for url, expected in (
        ("rediss://h", SSLConnection),
        ("unix:///tmp/redis.sock", UnixDomainSocketConnection),
        ("rediss+sentinel://h/main", SentinelManagedSSLConnection),
    ):
        assert issubclass(connect(url).connection_pool.connection_class, expected)


def test_options_of_the_sentinels_are_theirs_alone():
    redis = connect(
        "rediss+sentinel://ada:a@h:1,[::1]/main/3?sentinel_username=eve&sentinel_password=s&health_check_interval=9"
    )
    sentinels = [each.connection_pool.connection_kwargs for each in redis.connection_pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in sentinels] == [("h", 1), ("::1", 26379)]
    for each in sentinels:
        assert (each["username"], each["password"], each.get("health_check_interval", 0)) == ("eve", "s", 0)
    told = redis.connection_pool.connection_kwargs
    assert (told["username"], told["password"], told["db"], told["health_check_interval"]) == ("ada", "a", 3, 9)
    assert redis.connection_pool.service_name == "main"


@pytest.mark.parametrize("seed", range(150))
def test_a_url_that_leads_nowhere_is_refused_in_one_line_without_its_password(seed):
    draw = random.Random(seed)
    secret = secret_of(draw)
    with pytest.raises(BadAddress) as refused:
        check(broken(draw, secret))
    assert refused.value.__cause__ is None
    said = str(refused.value)
    assert said and "\n" not in said and secret not in said and quote(secret, safe="") not in said


@pytest.mark.parametrize("seed", range(200, 212))
def test_every_command_refuses_it_with_exit_code_2(seed, monkeypatch):
    draw = random.Random(seed)
    secret = secret_of(draw)
    monkeypatch.setenv("LIG_REDIS_URL", broken(draw, secret))
    for command, arguments in (
        (serve.serve, []),
        (serve.serve, ["--check"]),
        (worker_cli.worker, []),
        (worker_cli.worker, ["--check"]),
        (job_admin.list_jobs, []),
    ):
        app = Typer()
        app.command()(command)
        done = CliRunner().invoke(app, arguments)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert "LIG_REDIS_URL: " in done.output
        assert secret not in done.output and quote(secret, safe="") not in done.output


def test_faults_of_settings_show_no_value(monkeypatch):
    monkeypatch.setenv("LIG_REDIS_URL", "redis://:hunter2@h:x")
    with pytest.raises(ValueError, match="redis_url") as refused:
        Settings()
    assert "hunter2" not in str(refused.value)
