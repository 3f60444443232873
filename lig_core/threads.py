"""The threads that torch computes with: as many as processors are granted, and none that waits by spinning for long.

Threads of OpenMP that wait for each other spin: GNU's for milliseconds, where each has a processor to itself. Where
fewer processors are granted than there are threads, by a container's quota or by what else runs, one that spins keeps
from work the one that it waits for. So there are no more threads than processors, and they spin for microseconds.

Both are read once, when torch is imported: `thread_variables` are for the environment of a process that has not yet.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
SPINS = 1000
"""Rounds that a waiting thread spins before it sleeps: some microseconds."""


def thread_variables(threads: int | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables for OpenMP: `threads` of them, None for as many as processors; those that are set already stay.

    A number that is asked for here stands above OMP_NUM_THREADS.
    """
    wanted = {"GOMP_SPINCOUNT": str(SPINS), "OMP_NUM_THREADS": str(granted_processors())}
    if "OMP_WAIT_POLICY" in environment:  # it sets the spin count, too
        del wanted["GOMP_SPINCOUNT"]
    missing = {name: value for name, value in wanted.items() if name not in environment}
    return missing if threads is None else {**missing, "OMP_NUM_THREADS": str(threads)}


def set_threads(threads: int | None = None) -> None:
    """Set them for this process, which is to import torch only after."""
    os.environ.update(thread_variables(threads, os.environ))


def granted_processors(cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """Processors that this process may run on, or the whole ones of its CPU quota where that is less; 1 at least."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux's
    processors = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(1, min([processors, *map(math.floor, _quotas(cgroups, membership))]))


def _quotas(cgroups: Path, membership: Path) -> Iterator[float]:
    """The quotas of this process's control group and of all above it, in processors; of version 2 and of version 1."""
    for line in membership.read_text().splitlines() if membership.is_file() else ():
        _, controllers, place = line.split(":", 2)
        if controllers == "":
            root, read = cgroups, _quota
        elif "cpu" in controllers.split(","):
            root, read = cgroups / "cpu", _old_quota
        else:
            continue
        group = root / place.lstrip("/")
        # A container may see its own group as the root and yet be told its place from outside.
        for folder in dict.fromkeys([group, *group.parents, root]):
            if folder.is_relative_to(root) and (quota := read(folder)) is not None:
                yield quota


def _quota(group: Path) -> float | None:
    """`quota period` in microseconds, or `max period`."""
    file = group / "cpu.max"
    if not file.is_file():
        return None
    quota, period = file.read_text().split()
    return None if quota == "max" else int(quota) / int(period)


def _old_quota(group: Path) -> float | None:
    """−1 stands for no quota."""
    quota, period = group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us"
    if not quota.is_file() or not period.is_file() or int(quota.read_text()) < 0:
        return None
    return int(quota.read_text()) / int(period.read_text())
