"""The command `lig`, as `python -m lig.cli` too."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lig_core import cli


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments, absent: the process's. Returns its exit code."""
    try:
        cli.main(argv)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
