"""A worker process whose engine does what the text says: `python scripted_worker.py RUNS_FILE`."""

import sys
from pathlib import Path

from worker.main import work
from worker.settings import Settings

CHILD = Path(__file__).parent / "scripted_child.py"

if __name__ == "__main__":
    work(Settings(), child=[sys.executable, str(CHILD), sys.argv[1]])
