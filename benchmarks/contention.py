"""A short text through the command while two busy loops hold the processors: `python -m benchmarks.contention`.

Free and beside the loops by turns, each with the threads of `lig_core.threads` and as OpenMP has them by itself (a
thread for each processor, spinning). Prints medians in seconds and their ratios; needs a machine that is free.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

TEXT = "The cat sat."
ROUNDS = 5
BUSY = "while True: pass"
BY_ITSELF = {"OMP_NUM_THREADS": str(os.cpu_count()), "OMP_WAIT_POLICY": "active"}


def seconds(environment: dict[str, str]) -> float:
    """Wall time of one `lig explain`, its start included."""
    command = [sys.executable, "-m", "lig_core.cli", "explain", TEXT, "--model", "minilm", "--granularity", "layer"]
    begun = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """That many processes that do nothing but compute."""
    loops = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> None:
    """Measure by turns and print."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "LIG_"))}
    sides = {"ours": own, "by itself": {**own, **BY_ITSELF}}
    times: dict[tuple[str, int], list[float]] = {(side, loops): [] for side in sides for loops in (0, 2)}
    for _ in range(ROUNDS):
        for loops in (0, 2):
            with busy_loops(loops):
                for side, environment in sides.items():
                    times[side, loops].append(seconds(environment))
    for side in sides:
        free, beside = (statistics.median(times[side, loops]) for loops in (0, 2))
        print(f"{side}: free {free:.2f} s, beside two busy loops {beside:.2f} s, ratio {beside / free:.2f}")


if __name__ == "__main__":
    main()
