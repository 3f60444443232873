"""The process with the models, of a backend that does what the text says: `python scripted_child.py RUNS_FILE`.

Each run adds a line with the text, each layer that is computed one with its number.
"""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

from lig_core.contract import Progress
from lig_core.errors import Cancelled, ModelNotFound, NotConverged
from lig_core.result.arrays import LayerArrays
from worker.compute import child


class ScriptedBackend:
    """Texts: `sleep N` (stops when asked), `stubborn N` (does not), `native N` (cannot), `fail`, `break`, `die`.

    `first N` sleeps only the first time that it is run; `held` is held in its run number K until the file
    `RUNS_FILE.K` is there, whoever asks it to stop, and then adds a line `let go`.
    `layers N` has N layers, and `layers N die K` kills the process after K of them, once.
    Of texts that share a sequence there is a line `together N` first, then one for each as if it were alone.
    """

    def __init__(self, runs=None):
        self._runs = runs

    def load(self, card, device, dtype):
        if card.name.startswith("nobody/"):
            raise ModelNotFound(f"model '{card.name}' is not here")
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
        self.note(request.text)
        report(Progress(phase="computing", done=1, total=2))
        word, *arguments = request.text.split()
        number = self.runs_of(request.text)
        sleeps = word in {"sleep", "stubborn", "native"} or (word == "first" and number == 1)
        until = time.monotonic() + float(arguments[0]) if sleeps else 0
        if word == "native":
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        while time.monotonic() < until:
            if word in {"sleep", "first"} and should_stop():
                raise Cancelled("stopped on request")
            time.sleep(0.02)
        if word == "held":
            while not Path(f"{self._runs}.{number}").exists():
                time.sleep(0.02)
            self.note("let go")
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "fail":
            raise NotConverged("the tolerance was missed; raise rtol")
        if word == "break":
            raise RuntimeError("a secret")
        head = {"text": request.text, "model": model, "process": os.getpid(), "tokens": ["a"]}
        return head, self.layers(arguments if word == "layers" else ["1"], skip)

    def stream_batch(self, requests, model, report, should_stop, skip):
        self.note(f"together {len(requests)}")
        each = [
            self.stream(request, model, partial(report, number), should_stop, skip)
            for number, request in enumerate(requests)
        ]
        layers = zip(*(layers for _, layers in each), strict=True)
        yield list(range(len(each))), [head for head, _ in each], map(list, layers)

    def layers(self, script, skip):
        for index in range(int(script[0])):
            if index in skip:
                continue
            if script[1:] and index == int(script[2]) and not skip:
                os.kill(os.getpid(), signal.SIGKILL)
            if script[0] != "1":
                self.note(f"layer {index}")
            yield LayerArrays(index, {"targets": np.array([0])})

    def runs_of(self, text):
        return self._runs.read_text().splitlines().count(text) if self._runs and self._runs.is_file() else 1

    def note(self, line):
        if self._runs:
            with self._runs.open("a") as file:
                file.write(line + "\n")


if __name__ == "__main__":
    child.main(lambda: ScriptedBackend(Path(sys.argv[1])))
