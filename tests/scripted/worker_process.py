"""A worker process whose backend does what the text says: `python worker_process.py RUNS_FILE`."""

import sys
from pathlib import Path

from lig_core.serving import logs
from worker.main import work
from worker.settings import Settings

CHILD = Path(__file__).parent / "child_process.py"

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    work(settings, child=[sys.executable, str(CHILD), sys.argv[1]])
