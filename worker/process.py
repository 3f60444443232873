"""The process that holds the models, as the worker sees it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

PARENT_VARIABLE = "LIG_WORKER_PID"
STARTS = 3
"""How often a process that does not become ready is started anew before the worker gives up."""
CLOSE_SECONDS = 2.0


class Unfit(Exception):
    """The process cannot be had; the text says why."""


class ProcessDied(Exception):
    """The process ended in the middle of a job."""


class ModelProcess:
    """One long-lived child: it keeps its models from job to job, and a crash in it does not reach the worker."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], start_seconds: float) -> None:
        self._command = command
        self._environment = {**environment, PARENT_VARIABLE: str(os.getpid())}
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._read = b""
        self.holds: dict[str, Any] = {}
        """What it last said of its models and its memory."""

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def make_ready(self, meanwhile: Callable[[], bool]) -> bool:
        """See to it that it runs and has its models; False if `meanwhile` says to give up. Raises Unfit."""
        if self.alive:
            return True
        for attempt in range(STARTS):
            time.sleep(attempt**2)  # whatever is wrong may pass; meanwhile no job is taken
            self._start()
            try:
                if self._wait_until_ready(meanwhile):
                    return True
                self.kill()
                return False
            except ProcessDied:
                continue
        raise Unfit("the process with the models does not start; its messages are above")

    def send(self, message: Mapping[str, Any]) -> None:
        """Give it a job; raises ProcessDied."""
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(message) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise ProcessDied from None

    def reply(self, seconds: float) -> dict[str, Any] | None:
        """Its next answer, or None after `seconds`; raises ProcessDied."""
        assert self._process is not None and self._process.stdout is not None
        deadline = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                part = os.read(self._process.stdout.fileno(), 2**16)
                if not part:
                    self.kill()
                    raise ProcessDied
                self._read += part
        line, _, self._read = self._read.partition(b"\n")
        answer: dict[str, Any] = orjson.loads(line)
        self.holds = answer.pop("holds", {})
        return answer

    def interrupt(self) -> None:
        """Ask it to stop its job."""
        if self.alive and self._process is not None:
            self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it at once, and wait until it is gone. It will be started anew when needed."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):  # what was not read any more
                if pipe is not None:
                    pipe.close()
        self._process, self._read = None, b""

    def close(self) -> None:
        """End it, between two jobs."""
        if self.alive and self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
        self.kill()

    def _start(self) -> None:
        self.kill()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches the worker alone
        )

    def _wait_until_ready(self, meanwhile: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self._start_seconds
        while meanwhile():
            answer = self.reply(0.25)
            if answer is not None:
                if "unfit" in answer:
                    raise Unfit(answer["unfit"])
                return True
            if time.monotonic() > deadline:
                raise Unfit(f"the models were not loaded within {self._start_seconds:.0f} s; see LIG_LOAD_TIMEOUT")
        return False
