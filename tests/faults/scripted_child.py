"""The process with the models, of a fast engine that dies at armed points: `python scripted_child.py FOLDER`.

The text of a request is `name seconds` or `name spin count`.
"""

import sys
import time
from pathlib import Path

import orjson

from lig_core.contract import Progress
from lig_core.errors import Cancelled
from tests.faults.points import Points
from worker import child
from worker.tasks import Explainer


class ScriptedEngine:
    def __init__(self, points):
        self.points = points
        self.job = ""

    def load(self, card, device, dtype):
        return card.name

    def expected_size(self, card, dtype):
        return self.size(card.name)

    def size(self, model):
        return 1_000_000

    def release(self):
        pass

    def memory(self, device):
        return 10_000_000

    def device_memory_used(self):
        return None

    def run(self, request, model, report, should_stop):
        _, amount, *count = request.text.split()
        self.points.note("started", self.job)
        self.reach("before")
        report(Progress(phase="computing", done=0, total=2))
        if count:
            spin(int(count[0]))
        else:
            wait(float(amount) / 2, should_stop)
            self.reach("mid")
            wait(float(amount) / 2, should_stop)
        return orjson.dumps({"text": request.text})

    def reach(self, point):
        self.points.reach(point, self.job, "models")


class DyingExplainer(Explainer):
    def store(self, run, plain):
        pointer = super().store(run, plain)
        self.engine.reach("after_write")
        return pointer

    def explain(self, run, data, report, should_stop):
        self.engine.job = run.job.id
        pointer = super().explain(run, data, report, should_stop)
        self.engine.reach("before_ack")
        return pointer


def wait(seconds, should_stop):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if should_stop():
            raise Cancelled("stopped on request")
        time.sleep(0.01)


def spin(count):
    """Work for one core, the same on every machine."""
    total = 0
    for number in range(count):
        total += number * number
    return total


if __name__ == "__main__":
    points = Points(Path(sys.argv[1]))
    child.main(lambda: ScriptedEngine(points), DyingExplainer)
