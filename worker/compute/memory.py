"""Memory of this process, in bytes."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

BYTES_PER_RUSAGE = 1 if sys.platform == "darwin" else 1024


def resident_memory() -> int:
    """Memory of this process now; where the system does not say, the most it ever had."""
    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * BYTES_PER_RUSAGE
