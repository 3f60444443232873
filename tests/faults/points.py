"""Places where a process kills itself once, when told to. Only the harness's own backend and worker have them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

CHILD_POINTS = ("before", "mid", "after_write", "before_ack")
WORKER_POINTS = ("popped", "answered", "settled")


class Points:
    """Armed by a file of the point's name; whoever removes the file is the one to die."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def arm(self, name: str) -> None:
        (self._folder / name).touch()

    def armed(self, name: str) -> bool:
        return (self._folder / name).exists()

    def disarm(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)

    def reach(self, name: str, job: str, who: str) -> None:
        try:
            (self._folder / name).unlink()
        except FileNotFoundError:
            return
        self.note(f"killed {who}", job)
        os.kill(os.getpid(), signal.SIGKILL)

    def note(self, event: str, job: str, pid: int | None = None) -> None:
        """One line in the log of events: appended in one write, so lines of several processes do not mix."""
        line = json.dumps({"time": time.time(), "event": event, "job": job, "pid": pid or os.getpid()})
        with (self._folder / "events").open("a") as file:
            file.write(line + "\n")

    def events(self) -> list[dict]:
        file = self._folder / "events"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
