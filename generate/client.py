"""Writes lig_core/client/sync.py: the client for asyncio without what makes it asynchronous."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENTS = Path(__file__).parents[1] / "lig_core" / "client"
SOURCE, FILE = CLIENTS / "aio.py", CLIENTS / "sync.py"
HEAD = '"""The client for programs that block. Made from aio.py by `make client`: change it there."""'

CHANGES = (
    (r'\A"""[^"]*"""', HEAD),
    (r"^import anyio.*\n", ""),
    (r"await anyio\.to_thread\.run_sync\((\S+), (\S+)\)", r"\1(\2)"),
    (r"\banyio\.sleep\b", "time.sleep"),
    (r"\bawait |\basync (?=def|for|with)", ""),
    (r"\bAsyncGenerator\[(.+?), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bAsync(?=Client|BaseTransport)", ""),
    (r"aiter_sse\(\)\) as stream:", r"\g<0>  # type: ignore[type-var]"),
    (r"\b(__)?a(?=enter__|exit__|close\b|closing\b|read\b|iter_)", lambda match: match[1] or ""),
)


def text() -> str:
    """The module as it is to stand."""
    written = SOURCE.read_text(encoding="utf-8")
    for pattern, replacement in CHANGES:
        written = re.sub(pattern, replacement, written, flags=re.MULTILINE)
    for command in (["check", "--fix", "--unsafe-fixes", "--quiet", "--exit-zero"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(FILE), "-"]
        written = subprocess.run(ruff, input=written, capture_output=True, text=True, check=True).stdout
    return written


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
