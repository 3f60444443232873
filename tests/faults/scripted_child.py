"""The process with the models, of a fast engine that dies at armed points: `python scripted_child.py FOLDER`.

The text of a request is `name seconds` or `name spin count`.
"""

import sys
import time
from pathlib import Path

import numpy as np

from lig_core.contract import Progress
from lig_core.errors import Cancelled
from lig_core.result.arrays import LayerArrays
from tests.faults.points import Points
from worker import child
from worker.tasks import Explainer

LAYERS = 2


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

    def stream(self, request, model, report, should_stop, skip):
        self.points.note("started", self.job)
        self.reach("before")
        report(Progress(phase="computing", done=len(skip), total=LAYERS))
        return {"text": request.text, "tokens": ["a"]}, self.layers(request.text.split(), should_stop, skip)

    def layers(self, script, should_stop, skip):
        for index in range(LAYERS):
            if index in skip:
                continue
            if script[2:]:
                spin(int(script[2]) // LAYERS)
            else:
                wait(float(script[1]) / LAYERS, should_stop)
            self.reach("mid")
            yield LayerArrays(index, {"targets": np.array([0])})

    def reach(self, point):
        self.points.reach(point, self.job, "models")


class DyingExplainer(Explainer):
    def store(self, run, name, plain, layer=None):
        super().store(run, name, plain, layer)
        self.engine.reach("after_write")

    def explain(self, run, data, report, should_stop, accepted=None):
        self.engine.job = run.computation
        done = super().explain(run, data, report, should_stop, accepted)
        self.engine.reach("before_ack")
        return done


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
