"""Stops small supervised trees at moments drawn from a seed: `python -m tests.faults.trees [--count N] [--seed S]`.

A tree is a process that supervises two that sleep, by the code of `lig serve`, without a Redis, an API or a worker.
Each must end in time, with its children.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import time
from collections import Counter

import psutil

from service.process.stopping import Stopped, stop_signals
from service.process.supervisor import Command, supervise

MARK = "LIG_TREE_OF"
LONGEST_DELAY_SECONDS = 0.03
DEADLINE_SECONDS = 30.0
AT_ONCE = 4


def tree(ready: int) -> None:
    """A supervisor, in a process of its own; a byte on `ready` says that it listens."""
    environment = {**os.environ, MARK: str(os.getpid())}
    with stop_signals() as stop:
        os.write(ready, b"!")
        try:
            supervise({name: Command(["sleep", "60"]) for name in "ab"}, environment, stop, grace=20)
        except Stopped:
            os._exit(0)
    os._exit(1)


def stop_one(seed: int) -> str:
    """Start a tree and stop it; how that ended."""
    draw = random.Random(seed)
    listening, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        tree(ready)
    os.read(listening, 1)
    for end in (listening, ready):
        os.close(end)
    time.sleep(draw.uniform(0, LONGEST_DELAY_SECONDS))
    os.kill(pid, draw.choice([signal.SIGTERM, signal.SIGINT]))
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return "ended" if os.waitstatus_to_exitcode(status) == 0 else f"exit code {status}"
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return f"hung (seed {seed})"


def left_behind() -> int:
    """Processes of trees that are still there."""
    count = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            count += MARK in process.environ()
    return count


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=500)
    options.add_argument("--seed", type=int, default=11)
    told = options.parse_args()
    with multiprocessing.get_context("fork").Pool(AT_ONCE) as pool:
        outcomes = Counter(pool.imap_unordered(stop_one, range(told.seed, told.seed + told.count)))
    left = left_behind()
    print(f"{dict(outcomes)}, {left} left behind", flush=True)
    return 0 if outcomes == {"ended": told.count} and not left else 1


if __name__ == "__main__":
    sys.exit(main())
