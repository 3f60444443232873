"""Threads: as many as processors are granted, by affinity and by the quota of the control group or of one above it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lig_core.threads import SPINS, granted_processors, thread_variables

HERE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def membership(folder: Path, *lines: str) -> Path:
    file = folder / "membership"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


@pytest.mark.parametrize(
    ("quota", "granted"),
    [("100000 100000", 1), ("50000 100000", 1), ("199999 100000", 1), ("max 100000", HERE), ("9900000 100000", HERE)],
)
def test_a_container_s_quota_is_whole_processors_and_one_at_least(tmp_path: Path, quota: str, granted: int) -> None:
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert granted_processors(tmp_path, membership(tmp_path, "0::/")) == granted


def test_the_quota_of_a_group_above_counts_too(tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "outer" / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "outer" / "inner" / "cpu.max").write_text("max 100000\n")
    assert granted_processors(tmp_path, membership(tmp_path, "0::/outer/inner")) == 1


def test_a_place_told_from_outside_leaves_the_container_s_own_quota(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    assert granted_processors(tmp_path, membership(tmp_path, "0::/docker/abc")) == 1


@pytest.mark.parametrize(("quota", "granted"), [("100000", 1), ("-1", HERE)])
def test_control_groups_of_the_first_version_are_read(tmp_path: Path, quota: str, granted: int) -> None:
    (tmp_path / "cpu" / "docker").mkdir(parents=True)
    (tmp_path / "cpu" / "docker" / "cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu" / "docker" / "cpu.cfs_period_us").write_text("100000")
    lines = ("5:cpu,cpuacct:/docker", "4:memory:/docker")
    assert granted_processors(tmp_path, membership(tmp_path, *lines)) == granted


def test_without_control_groups_the_processors_count(tmp_path: Path) -> None:
    assert granted_processors(tmp_path, tmp_path / "none") == HERE


def test_variables_that_are_set_stay() -> None:
    assert thread_variables(None, {"OMP_NUM_THREADS": "3", "GOMP_SPINCOUNT": "7"}) == {}
    assert thread_variables(None, {"OMP_WAIT_POLICY": "active"}) == {"OMP_NUM_THREADS": str(granted_processors())}


def test_a_number_asked_for_stands_above_the_environment() -> None:
    assert thread_variables(4, {"OMP_NUM_THREADS": "3"}) == {"OMP_NUM_THREADS": "4", "GOMP_SPINCOUNT": str(SPINS)}
