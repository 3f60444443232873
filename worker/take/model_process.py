"""The process that holds the models, as the worker sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

import orjson

from worker.settings import PARENT_VARIABLE

STARTS, KILLED_STARTS = 3, 10
"""How often a process that does not become ready is started before the worker gives up: one that ended by itself, and
one that was killed, as by a system that is short of memory for a while."""
LOOK_SECONDS = 0.25
"""How long a start is waited for before something else is looked at."""
CLOSE_SECONDS = 2.0
ENDING_SECONDS = 0.5
"""How long one whose pipes are closed may take to be gone, and to say how it ended."""

log = logging.getLogger(__name__)


class Unfit(Exception):
    """The process cannot be had; the text says why."""


class ProcessDied(Exception):
    """The process ended, was killed by somebody else, or was ended because it was out of step."""

    def __init__(self, *, killed: bool = False) -> None:
        super().__init__()
        self.killed = killed


class State(Enum):
    """Where the process is: see ModelProcess."""

    GONE = auto()
    STARTING = auto()
    READY = auto()
    BUSY = auto()


class ModelProcess:
    """One long-lived child: it keeps its models from job to job, and a crash in it does not reach the worker.

        gone ── start ──> starting ── "ready" ──> ready ── send ──> busy ── the last answer ──> ready
          ^                  │                      │                 │
          └──────────────────┴─ it ended, or said anything else ──────┘

    An answer names the execution that it is of. What it says and was not asked ends it: who is out of step once would
    give every later job the answer of the one before.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], start_seconds: float) -> None:
        self._command = command
        self._environment = {**environment, PARENT_VARIABLE: str(os.getpid())}
        self._start_seconds = start_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._state = State.GONE
        self._unanswered: set[str] = set()
        self._unsent = self._read = b""
        self._failed_starts = self._killed_starts = 0
        self._start_at = self._ready_by = 0.0
        self.holds: dict[str, Any] = {}
        """Its models and its memory, as it last said."""

    @property
    def state(self) -> State:
        """Where it is, as far as was noticed."""
        return self._state

    @property
    def pid(self) -> int:
        """Its process id; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def make_ready(self, meanwhile: Callable[[], bool]) -> bool:
        """See to it that it can take a job; False if `meanwhile` says to give up. Raises Unfit.

        What `meanwhile` raises changes nothing: the next call goes on waiting for the same process.
        """
        while not self._is_ready():
            if not meanwhile():
                return False
            if self._state is State.GONE:
                self._start_when_due()
            else:
                self._look_whether_started()
        return True

    def send(self, jobs: Mapping[str, bytes]) -> None:
        """Give it jobs to be done together, as JSON by their executions; raises ProcessDied where it is not ready, and
        does nothing of what was sent."""
        if not self._is_ready():
            raise ProcessDied
        line = orjson.dumps([{"execution": name, "job": orjson.Fragment(job)} for name, job in jobs.items()])
        self._state, self._unanswered, self._unsent = State.BUSY, set(jobs), line + b"\n"
        assert self._process is not None and self._process.stdin is not None
        self._write(self._process.stdin.fileno())  # it begins at once, whatever else is to be done here

    def reply(self, seconds: float) -> tuple[str, dict[str, Any]] | None:
        """An execution that was sent and its answer, or None after `seconds`; raises ProcessDied."""
        if self._state is not State.BUSY:
            raise ProcessDied
        answer = self._answer(seconds)
        if answer is None:
            return None
        execution = answer.pop("execution", None)
        if not isinstance(execution, str) or execution not in self._unanswered:
            raise self._out_of_step("it answered for another execution")
        self._unanswered.remove(execution)
        if not self._unanswered:
            self._state = State.READY
        return execution, answer

    def interrupt(self) -> None:
        """Ask it to stop what it was given."""
        if self._state is State.BUSY and self._process is not None:
            self._process.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        """End it at once, and wait until it is gone. It will be started anew when needed."""
        process, self._process, self._state = self._process, None, State.GONE
        self._unsent, self._read, self.holds = b"", b"", {}
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def close(self) -> None:
        """End it, between two jobs."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(CLOSE_SECONDS)
        self.kill()

    def _is_ready(self) -> bool:
        """True where it can take a job. One that is at a job still, or speaks between two, is ended."""
        try:
            if self._state is State.READY and (self._line(0) is not None or self._read):
                raise self._out_of_step("it spoke without being asked")
            if self._state is State.BUSY:
                raise self._out_of_step("nobody waits for its answer any more")
        except ProcessDied:
            return False
        return self._state is State.READY

    def _start_when_due(self) -> None:
        if self._failed_starts == STARTS or self._killed_starts == KILLED_STARTS:
            raise Unfit("the process with the models does not start; its messages are above")
        wait = self._start_at - time.monotonic()
        if wait > 0:  # whatever is wrong may pass; meanwhile no job is taken
            time.sleep(min(wait, LOOK_SECONDS))
            return
        try:
            self._process = self._start()
        except OSError as error:  # no memory for it, say
            log.error("the process with the models does not start: %s", error)
            self._start_failed()
        else:
            self._state, self._ready_by = State.STARTING, time.monotonic() + self._start_seconds

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            self._command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches the worker alone
        )
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        return process

    def _start_failed(self, *, killed: bool = False) -> None:
        if killed:
            self._killed_starts += 1
            log.error("the process with the models was killed as it started; a system short of memory does that")
        else:
            self._failed_starts += 1
        self._start_at = time.monotonic() + (self._failed_starts + self._killed_starts) ** 2

    def _look_whether_started(self) -> None:
        try:
            answer = self._answer(LOOK_SECONDS)
            if answer is not None and not {"ready", "unfit"} & answer.keys():
                raise self._out_of_step("it did not say whether it is ready")
        except ProcessDied as death:
            self._start_failed(killed=death.killed)
            return
        if answer is None:
            if time.monotonic() > self._ready_by:
                self.kill()
                raise Unfit(f"the models were not loaded within {self._start_seconds:.0f} s; see LIG_LOAD_TIMEOUT")
        elif "unfit" in answer:
            self.kill()
            raise Unfit(answer["unfit"])
        else:
            self._state, self._start_at = State.READY, 0.0
            self._failed_starts = self._killed_starts = 0

    def _answer(self, seconds: float) -> dict[str, Any] | None:
        line = self._line(seconds)
        if line is None:
            return None
        with contextlib.suppress(orjson.JSONDecodeError):
            answer = orjson.loads(line)
            if isinstance(answer, dict):
                self.holds = answer.pop("holds", {})
                return answer
        raise self._out_of_step("its answer cannot be read")

    def _line(self, seconds: float) -> bytes | None:
        """Its next line, or None after `seconds`; the rest of its message is given to it meanwhile."""
        assert self._process is not None and self._process.stdin is not None and self._process.stdout is not None
        deadline, into, out = time.monotonic() + seconds, self._process.stdin, self._process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            if self._unsent:
                selector.register(into, selectors.EVENT_WRITE)
            while b"\n" not in self._read:
                ready = [key.fileobj for key, _ in selector.select(max(0.0, deadline - time.monotonic()))]
                if out in ready:
                    part = os.read(out.fileno(), 2**16)
                    if not part:
                        raise self._ended()
                    self._read += part
                elif into in ready:
                    self._write(into.fileno())
                    if not self._unsent:
                        selector.unregister(into)
                elif self._process.poll() is not None:
                    raise self._ended()  # although something it started has its pipes still
                else:
                    return None
        line, _, self._read = self._read.partition(b"\n")
        return line

    def _write(self, into: int) -> None:
        try:
            self._unsent = self._unsent[os.write(into, self._unsent) :]
        except BrokenPipeError:
            raise self._ended() from None

    def _ended(self) -> ProcessDied:
        assert self._process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDING_SECONDS)
        killed = self._process.returncode == -signal.SIGKILL
        self.kill()
        return ProcessDied(killed=killed)

    def _out_of_step(self, reason: str) -> ProcessDied:
        log.error("the process with the models is out of step (%s), so it is started anew", reason)
        self.kill()
        return ProcessDied()
