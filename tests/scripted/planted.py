"""What an intruder who can write to Redis might name in a job."""

import os
from pathlib import Path


def leave_mark(*args):
    Path(os.environ["PLANTED_MARK"]).touch()
