"""`make test`: style and types, unit tests, integration tests; each of them, whatever became of those before it.

At the end stands what passed, failed and was skipped, and why. The exit status is 1 if anything failed. Under CI=true
a skipped test has failed, but for those of `tests/gpu`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from tests import programs

ROOT = Path(__file__).parents[1]
PROCESSORS = os.cpu_count() or 1


def side_by_side(processes: int) -> tuple[str, str]:
    """Options of pytest for so many processes, within what a machine's memory holds."""
    return "--numprocesses", str(min(processes, 8))


SUITES = {
    "unit": (*side_by_side(PROCESSORS), "tests/unit"),
    # These wait for half of their time, so there are two for each processor; the order is that of tests/integration.
    "integration": (
        *(*side_by_side(2 * PROCESSORS), "--dist", "loadfile", "--no-loadscope-reorder"),
        *("tests/integration", "tests/gpu"),
    ),
}


@dataclass
class Outcome:
    """What became of one suite."""

    sound: bool  # as its exit status says
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def check() -> Outcome:
    """`make check`."""
    done = subprocess.run(["make", "--no-print-directory", "check"], cwd=ROOT, check=False)
    return Outcome(sound=done.returncode == 0)


def run_suite(options: tuple[str, ...], report: Path) -> Outcome:
    """One run of pytest."""
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *options]
    done = subprocess.run(command, cwd=ROOT, check=False)
    outcome = Outcome(sound=done.returncode == 0)
    if report.exists():
        read_report(report, outcome, gpu_alone=programs.in_ci())
    return outcome


def read_report(report: Path, outcome: Outcome, *, gpu_alone: bool) -> None:
    """Count what pytest wrote down; with `gpu_alone`, skipped tests have failed but for those that need a GPU."""
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            outcome.failed.append(name)
        elif skipped is None:
            outcome.passed += 1
        else:
            reason = skipped.get("message") or "without a reason"
            outcome.skipped[reason] += 1
            if gpu_alone and not name.startswith("tests.gpu."):
                outcome.failed.append(f"{name}, skipped: {reason}")


def summary(outcomes: dict[str, Outcome]) -> tuple[str, bool]:
    """The last lines, and whether all is well."""
    lines = [f"{'':12}{'passed':>8}{'failed':>8}{'skipped':>8}"]
    for name, outcome in outcomes.items():
        figures = (outcome.passed, len(outcome.failed), outcome.skipped.total())
        counts = "".join(f"{count:8}" for count in figures) if name in SUITES else ""
        lines.append(f"{name:12}{counts}{'' if outcome.sound and not outcome.failed else '  FAILED'}")
    for outcome in outcomes.values():
        lines += [f"skipped {count}: {reason}" for reason, count in outcome.skipped.items()]
        lines += [f"failed: {name}" for name in outcome.failed]
    well = all(outcome.sound and not outcome.failed for outcome in outcomes.values())
    return "\n".join([*lines, "all is well" if well else "not all is well"]), well


def main() -> None:
    """Run everything."""
    programs.bring()
    outcomes = {"check": check()}
    with TemporaryDirectory() as folder:
        for name, options in SUITES.items():
            outcomes[name] = run_suite(options, Path(folder) / f"{name}.xml")
    text, well = summary(outcomes)
    print(f"\n{text}", flush=True)
    sys.exit(not well)


if __name__ == "__main__":
    main()
