"""What clients touch in Redis, as Redis itself tells it (MONITOR)."""

import re
import threading
import uuid
from fnmatch import fnmatchcase

from redis import Redis
from redis.exceptions import ResponseError

ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
CHANNELS = {"PUBLISH", "SUBSCRIBE", "SPUBLISH", "SSUBSCRIBE"}
PATTERNS = {"PSUBSCRIBE"}


class Monitored:
    """`keys` and `channels` that were named by any command while the block ran, and `patterns` of channels.

    The commands of scripts are among them. MONITOR tells the commands in the order in which they were carried out, so
    the block ends where its last command was told.
    """

    def __init__(self, redis_url):
        self._redis, self._end = Redis.from_url(redis_url), uuid.uuid4().hex
        self._commands = set()
        self.keys, self.channels, self.patterns = set(), set(), set()

    def __enter__(self):
        self._watching = self._redis.connection_pool.get_connection()
        self._watching.send_command("MONITOR")
        assert self._watching.read_response() == b"OK"
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised):
        self._redis.echo(self._end)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._watching.disconnect()
        for command, *arguments in self._commands:
            self._note(command.upper(), arguments)
        self._redis.close()

    def touched(self, name):
        """Whether a key or a channel of that name was named, or heard of."""
        return name in self.keys | self.channels or any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def _read(self):
        while True:
            line = self._watching.read_response(timeout=None)
            command = tuple(each.decode("latin-1") for each in ARGUMENT.findall(line.partition(b"] ")[2]))
            if command == ("ECHO", self._end):
                return
            self._commands.add(command)

    def _note(self, command, arguments):
        if command in CHANNELS:
            self.channels.add(arguments[0])
        elif command in PATTERNS:
            self.patterns.update(arguments)
        elif command in {"KEYS", "SCAN", "FLUSHALL", "FLUSHDB"}:
            raise AssertionError(f"{command} reaches into every service")
        else:
            try:
                found = self._redis.execute_command("COMMAND GETKEYS", command, *arguments)
            except ResponseError:  # it takes no keys
                found = []
            self.keys.update(found)
