"""The process with the models, of a fast backend that dies at armed points: `python scripted_child.py FOLDER`.

The text of a request is that of an `Order`, or `name spin count`.
"""

import os
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from lig_core.contract import Progress
from lig_core.errors import Cancelled
from lig_core.result.arrays import LayerArrays
from tests.faults.orders import FAILURES, LAYERS, Order
from tests.faults.points import Points
from worker.compute import child
from worker.compute.explainer import Explainer

LOAD_VARIABLE = "HARNESS_LOAD_SECONDS"
"""How long it takes until it is ready; absent: a moment."""


class ScriptedBackend:
    def __init__(self, points):
        time.sleep(float(os.environ.get(LOAD_VARIABLE, "0")))
        self.points = points
        self.job = ""
        self.together = []

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
        order = Order.of(request.text)
        layers = self.layers(order, should_stop, skip) if order else self.spun(request.text, skip)
        head = {"text": request.text, "tokens": ["a"], "config": {"baseline_layer": "zero", "rtol": request.rtol}}
        return head, layers

    def stream_batch(self, requests, model, report, should_stop, skip):
        """Each job's steps by turns, under its own name."""
        jobs, each = self.together, []
        for number, request in enumerate(requests):
            self.job = jobs[number]
            each.append(self.stream(request, model, partial(report, number), should_stop, skip))
        yield list(range(len(each))), [head for head, _ in each], self.by_turns(jobs, [layers for _, layers in each])

    def by_turns(self, jobs, each):
        for _ in range(LAYERS):
            found = []
            for self.job, layers in zip(jobs, each, strict=True):
                found += [part for part in [next(layers, None)] if part is not None]
            if found:
                yield found

    def layers(self, order, should_stop, skip):
        for index in range(LAYERS):
            if index in skip:
                continue
            wait(order.seconds / LAYERS, should_stop)
            self.reach("mid")
            if order.fails and index == LAYERS - 1:
                raise FAILURES[order.fails](order.text)
            yield layer(index, order.value(index))

    def spun(self, text, skip):
        for index in range(LAYERS):
            if index not in skip:
                spin(int(text.split()[2]) // LAYERS)
                yield layer(index, 0.0)

    def reach(self, point):
        self.points.reach(point, self.job, "models")


class DyingExplainer(Explainer):
    def store(self, run, name, plain, layer=None):
        super().store(run, name, plain, layer)
        self.backend.reach("after_write")

    def explain(self, asked, should_stop):
        self.backend.job = asked.run.computation
        done = super().explain(asked, should_stop)
        self.backend.reach("before_ack")
        return done

    def explain_together(self, asked, should_stop):
        self.backend.together = [one.run.computation for one in asked]
        self.backend.points.note("together", self.backend.together[0])
        for place, done in super().explain_together(asked, should_stop):
            self.backend.job = asked[place].run.computation
            self.backend.reach("before_ack")
            yield place, done


def layer(index, value):
    """A layer map of one entry, with a certificate."""
    arrays = {
        "targets": np.array([0]),
        "z2z": np.array([[value]]),
        "z2z.total": np.array([value]),
        "z2z.completeness_error": np.array([0.0]),
        "z2z.nodes": np.array([1]),
        "z2z.converged": np.array([True]),
        "z2z.status": np.array([0], np.uint8),
    }
    return LayerArrays(index, arrays, quadrature="scripted", engines={"z2z": "scripted"})


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
    child.main(lambda: ScriptedBackend(points), DyingExplainer)
