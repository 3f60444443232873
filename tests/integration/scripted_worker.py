"""A worker process whose engine does what the text says: `python scripted_worker.py RUNS_FILE LEASE`."""

import sys
import time
from pathlib import Path

import orjson

from lig_core.contract import Progress
from lig_core.errors import NotConverged
from worker.main import work
from worker.settings import Settings


class ScriptedEngine:
    """Texts: `sleep N`, `fail`, `break`; anything else is echoed."""

    def __init__(self, runs=None):
        self._runs = runs

    def load(self, card, device, dtype):
        return card.name

    def run(self, request, model, report):
        if self._runs:
            with self._runs.open("a") as file:
                file.write(request.text + "\n")
        report(Progress(phase="computing", done=1, total=2))
        word, _, argument = request.text.partition(" ")
        if word == "sleep":
            time.sleep(float(argument))
        if word == "fail":
            raise NotConverged("the tolerance was missed; raise rtol")
        if word == "break":
            raise RuntimeError("a secret")
        return orjson.dumps({"text": request.text, "model": model})


if __name__ == "__main__":
    settings = Settings()
    runs, lease = sys.argv[1:]
    work(settings, settings.redis_url.get_secret_value(), ScriptedEngine(Path(runs)), lease_seconds=int(lease))
