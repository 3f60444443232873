"""`lig serve` as a process, with the real worker or with the scripted one."""

import os
import signal
import subprocess
import sys

import psutil

from tests.running.waiting import PATIENCE
from tests.support.places import ROOT, SERVE

REAL = ("-m", "lig_core.cli", "serve")
SCRIPTED = (str(SERVE),)


class Serve:
    """One run of the command on a data folder of its own."""

    def __init__(self, script, folder, *options, **environment):
        self.socket = folder / "redis.sock"
        self.process = subprocess.Popen(
            [sys.executable, *script, "--port", "0", "--data-dir", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", **environment},
        )
        self.family = []

    def wait_until_ready(self):
        line = self.process.stdout.readline()
        assert line.startswith("LIG service ready at http://127.0.0.1:"), self.process.stderr.read()
        self.url = line.split()[4]
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        return self

    def child(self, word):
        """The process with that word in its command line; of worker and its models, the worker."""
        return next(child for child in self.family if any(word in part for part in child.cmdline()))

    def end(self, signum=signal.SIGTERM):
        self.process.send_signal(signum)
        return self.process.wait(PATIENCE)

    def left_behind(self):
        _, alive = psutil.wait_procs(self.family, timeout=PATIENCE)
        return alive
