"""A worker that dies at armed points: `python scripted_worker.py FOLDER`."""

import sys
from pathlib import Path

from tests.faults.points import Points
from worker.main import work
from worker.settings import Settings
from worker.take.lease_worker import LeaseWorker

POINTS = Points(Path(sys.argv[1]))


class DyingWorker(LeaseWorker):
    def run(self, computation):
        POINTS.reach("popped", computation, "worker")
        super().run(computation)

    def settle(self, run, ended, limits):
        POINTS.reach("answered", run.computation, "worker")
        status = super().settle(run, ended, limits)
        POINTS.reach("settled", run.computation, "worker")
        return status


if __name__ == "__main__":
    child = [sys.executable, str(Path(__file__).parent / "scripted_child.py"), sys.argv[1]]
    work(Settings(), child=child, make=DyingWorker)
