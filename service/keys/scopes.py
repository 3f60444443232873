"""What keys may allow. Imports next to nothing, for `lig --help` names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Scope = Literal["explain", "read", "metrics"]
SCOPES: Mapping[Scope, str] = {
    "explain": "submit, estimate, cancel and delete jobs",
    "read": "see jobs, results, events and models",
    "metrics": "read /metrics",
}
