"""Which paths a piece of code opens, lists or looks at."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.places import ROOT

EVENTS = {"open", "os.listdir", "os.scandir", "os.chdir", "os.readlink", "glob.glob", "pathlib.Path.glob"}


class Traced:
    """Paths, while `during` runs. An audit hook cannot be taken off again: make one of these for all tests."""

    def __init__(self) -> None:
        self._paths: set[str] | None = None
        sys.addaudithook(self._heard)

    @contextmanager
    def during(self) -> Iterator[set[str]]:
        """The paths that are touched in the block, absolute and as they were written, but for the interpreter's own."""
        found: set[str] = set()
        self._paths = found
        try:
            yield found
        finally:
            self._paths = None
            own = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, ROOT)]
            found -= {path for path in found if any(f"{path}/".startswith(f"{room}/") for room in own)}

    def looks(self, patch: pytest.MonkeyPatch) -> None:
        """Trace `os.stat` and `os.lstat` too, which no hook is told of."""
        for name in ("stat", "lstat"):
            patch.setattr(os, name, self._noting(getattr(os, name)))

    def _noting(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def noted(path: Any, *how: Any, **more: Any) -> Any:
            self._note(path)
            return look(path, *how, **more)

        return noted

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._paths is not None and event in EVENTS:
            self._note(arguments[0])

    def _note(self, path: Any) -> None:
        if self._paths is not None and isinstance(path, str | bytes | os.PathLike):
            self._paths.add(str(Path.cwd() / os.fsdecode(path)))
