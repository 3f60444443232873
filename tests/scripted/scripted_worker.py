"""A worker process whose backend does what the text says: `python scripted_worker.py RUNS_FILE`."""

import sys
from pathlib import Path

from lig_core.serving import logs
from worker.main import work
from worker.settings import Settings

CHILD = Path(__file__).parent / "scripted_child.py"

if __name__ == "__main__":
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    work(settings, child=[sys.executable, str(CHILD), sys.argv[1]])
