"""Break everything, again and again, while jobs are sent; then count. Writes benchmarks/faults.json and faults.md.

    python -m tests.faults.run [campaign] [out_of_step] [states] [throughput]

Ends with 0 if every promise was kept: nothing lost, doubled, stuck or wrongly failed, each answer its own job's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import Any

from tests.faults import campaign, out_of_step, report, states, throughput
from tests.faults.stack import DEFAULT_LEASE


def main() -> None:
    given = _arguments()
    seed: int = SystemRandom().randrange(2**32) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    makes: dict[str, tuple[Any, Callable[[Path], Any]]] = {
        "campaign": (campaign, lambda folder: campaign.measure(
            folder, seed=seed, jobs=given.jobs, minutes=given.minutes, lease=given.lease, between=given.between,
            rate=given.rate,
        )),
        "out_of_step": (out_of_step, lambda folder: out_of_step.measure(folder, seed=seed, tries=given.tries)),
        "states": (states, lambda folder: states.measure(folder, only=given.state)),
        "throughput": (throughput, lambda folder: throughput.measure()),
    }  # fmt: skip
    broken = []
    for section in given.sections or report.SECTIONS:
        module, make = makes[section]
        with tempfile.TemporaryDirectory(prefix="lig-faults-") as folder:
            result = make(Path(folder))
            found = module.faults_of(result)
            if found:
                report.keep_log(Path(folder), given.out / f"{section}.log")
        report.write(given.out, section, result, module.markdown(result))
        print(f"## {report.SECTIONS[section]}\n\n{module.markdown(result)}", flush=True)
        broken += found
    if broken:
        sys.exit(f"seed {seed}, not as promised:\n  " + "\n  ".join(broken))


def _arguments() -> argparse.Namespace:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("sections", nargs="*", choices=[[], *report.SECTIONS], help="what to run; absent: all")
    arguments.add_argument("--seed", type=int, help="what is drawn is drawn from it; absent: a new one")
    arguments.add_argument("--jobs", type=int, default=450)
    arguments.add_argument("--minutes", type=float, default=5.0, help="for how long faults are injected, at most")
    arguments.add_argument("--lease", type=float, default=DEFAULT_LEASE, help="LIG_LEASE of the workers, in seconds")
    arguments.add_argument("--between", type=float, default=1.0, help="seconds between two injections")
    arguments.add_argument("--rate", type=float, default=2.5, help="jobs sent a second")
    arguments.add_argument("--tries", type=int, default=out_of_step.TRIES, help="of a process death in an outage")
    arguments.add_argument("--state", default="", help="only the states of Redis whose name contains this")
    arguments.add_argument("--out", type=Path, default=report.OUT)
    return arguments.parse_args()


if __name__ == "__main__":
    main()
