"""What may become of a Redis: each state is a block, and the server is as before after it."""

import contextlib
import signal
import time

import psutil
from redis import Redis

PASSWORD = "another"


@contextlib.contextmanager
def configured(redis, name, value):
    before = redis.config_get(name)[name]
    redis.config_set(name, value)
    try:
        yield
    finally:
        redis.config_set(name, before)


def full(redis):
    return configured(redis, "maxmemory", "1")


def short_of_replicas(redis):
    return configured(redis, "min-replicas-to-write", "1")


@contextlib.contextmanager
def read_only(redis):
    redis.replicaof("127.0.0.1", "1")
    try:
        yield
    finally:
        redis.replicaof("no", "one")


@contextlib.contextmanager
def refusing(redis):
    """It has another password, and whoever was let in before must come in again."""
    redis.config_set("requirepass", PASSWORD)
    url = redis.connection_pool.connection_kwargs
    with Redis(unix_socket_path=url["path"], password=PASSWORD) as known:
        try:
            for kind in ("normal", "pubsub"):
                known.client_kill_filter(_type=kind, skipme=True)
            yield
        finally:
            known.config_set("requirepass", "")


@contextlib.contextmanager
def without_its_disk(redis):
    """It could not save, and so takes no writes."""
    redis.set("saved", 1)
    with configured(redis, "save", "3600 1"), configured(redis, "rdb-key-save-delay", "10000000"):
        redis.bgsave()
        for saving in psutil.Process(redis.info("server")["process_id"]).children():
            saving.kill()
        while redis.info("persistence")["rdb_last_bgsave_status"] != "err":
            time.sleep(0.02)
        yield
    redis.bgsave()
    while redis.info("persistence")["rdb_last_bgsave_status"] != "ok":
        time.sleep(0.02)


@contextlib.contextmanager
def frozen(redis):
    process = psutil.Process(redis.info("server")["process_id"])
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


STATES = {
    "full": (full, "maxmemory is reached"),
    "read-only": (read_only, "read-only"),
    "short of replicas": (short_of_replicas, "fewer replicas"),
    "refusing": (refusing, "refuses this client"),
    "without its disk": (without_its_disk, "cannot write to its disk"),
    "frozen": (frozen, "does not answer"),
}
"""Each by its name: the block, and what `/readyz` says of it."""
