"""The examples of the API's description: examples.json."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

EXAMPLES: dict[str, Any] = json.loads((files("service.openapi") / "examples.json").read_text(encoding="utf-8"))
JOB_ID: str = EXAMPLES["job"]["id"]
GROUP = "9c1d2e3f4a5b6c7d8e9fa0b1c2d3e4f5"


def lines(name: str) -> str:
    """An example that is text, each line ended."""
    return "".join(f"{line}\n" for line in EXAMPLES[name])
