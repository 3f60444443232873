"""The Redis that `lig serve` starts for itself."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from redis import Redis

from service.process import embedded
from service.process.embedded import EmbeddedRedisError, embedded_redis
from tests.running.waiting import wait_until
from tests.support.places import ROOT


def test_it_is_reachable_only_through_a_private_folder(tmp_path):
    folder = tmp_path / "data"
    with embedded_redis(folder) as server, Redis.from_url(server.url) as redis:
        assert server.url == f"unix://{folder}/redis.sock"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert redis.config_get("port") == {"port": "0"}


def test_it_keeps_jobs_across_a_restart_and_never_evicts_them(tmp_path):
    with embedded_redis(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert redis.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert redis.config_get("appendfsync")["appendfsync"] == "everysec"
        redis.set("kept", "yes")
    with embedded_redis(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"


def test_it_leaves_no_process_and_no_socket(tmp_path):
    with embedded_redis(tmp_path) as server:
        pid = server.process.pid
    assert not psutil.pid_exists(pid)
    assert not (tmp_path / "redis.sock").exists()


def test_a_socket_left_by_a_killed_server_does_not_matter(tmp_path):
    with embedded_redis(tmp_path) as server, Redis.from_url(server.url) as redis:
        redis.set("kept", "yes")
        time.sleep(1.2)  # appendfsync everysec
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        assert (tmp_path / "redis.sock").exists()
        (tmp_path / "redis.sock").rename(tmp_path / "aside")
    (tmp_path / "aside").rename(tmp_path / "redis.sock")
    with embedded_redis(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"


def test_a_torn_last_write_does_not_matter(tmp_path):
    with embedded_redis(tmp_path) as server, Redis.from_url(server.url) as redis:
        redis.set("kept", "yes")
    with next(tmp_path.rglob("*.aof")).open("ab") as log:
        log.write(b"*3\r\n$3\r\nSET\r\n$4\r\nto")
    with embedded_redis(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"


def test_a_folder_in_use_is_refused_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.2)
    with (
        embedded_redis(tmp_path),
        pytest.raises(EmbeddedRedisError, match="choose another --data-dir"),
        embedded_redis(tmp_path),
    ):
        pass


def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path):
    folder = tmp_path / ("long" * 30)
    with embedded_redis(folder) as server, Redis.from_url(server.url) as redis:
        socket = Path(server.url.removeprefix("unix://"))
        assert len(str(socket)) < 100
        assert redis.ping()
    assert not socket.parent.exists()


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "appendonly.aof").write_text("this is no append-only file\n")
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("nor is this a manifest\n")
    with (
        pytest.raises(EmbeddedRedisError, match=r"did not start; .*redis\.log ends with"),
        embedded_redis(tmp_path),
    ):
        pass


def test_it_ends_with_a_parent_that_was_killed(tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from service.process.embedded import embedded_redis\n"
        "with embedded_redis(Path(sys.argv[1])) as server: print(server.process.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with parent:
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
