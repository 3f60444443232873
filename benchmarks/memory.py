"""Peak memory and time of one layer map in a process of its own: python -m benchmarks.memory FOLDER TOKENS BASELINE."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import psutil
import torch

from benchmarks.cases import bert_base, case
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.quadrature import GaussLegendre

NODES = 16


def main(folder: str, tokens: str, baseline: str) -> None:
    torch.set_num_threads(2)
    loaded = bert_base(Path(folder))
    found = case("bert-base shape", loaded, int(tokens))
    targets = torch.arange(found.tokens)
    resident = psutil.Process().memory_info
    before = resident().rss
    peak, done = [before], threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    integrator = SplitBlockIntegrator(found.block, loaded.facts[3].laws, targets, GaussLegendre(NODES))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        integrator.layer(baseline)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)
    done.set()
    watcher.join()
    print(json.dumps({"peak_over_model_mib": (peak[0] - before) / 2**20, "seconds": min(seconds)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
