"""Processes in other environments or trees that are measured beside ours: a JSON line asks, a JSON line answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Ask = Callable[[dict[str, Any]], dict[str, Any]]


@contextmanager
def side(command: Sequence[str | Path], environment: Mapping[str, str]) -> Iterator[Ask]:
    """A process that answers as long as it is asked; a function that asks it."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdin is not None and process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def ask(request: dict[str, Any]) -> dict[str, Any]:
        questions.write(json.dumps(request) + "\n")
        questions.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer

    try:
        yield ask
    finally:
        questions.close()
        process.wait()
