"""Processes: their children, and what they take of memory."""

from pathlib import Path

import psutil


def peak_of(process, *, reset=False):
    """The most memory that a process held since the last reset, in bytes."""
    folder = Path(f"/proc/{process.pid}")
    if reset:
        (folder / "clear_refs").write_text("5")
    (line,) = (line for line in (folder / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def child_of(worker):
    (child,) = psutil.Process(worker.pid).children()
    return child
