"""Layer-wise Integrated Gradients: which tokens feed which inside a transformer layer.

    from lig_core import explain
    result = explain("The cat sat on the mat.", model="minilm")

The public names load lazily, so that importing the contract or the client does not import torch. No submodule
may have the name of a public function: importing it would put the module in the function's place.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lig_core.batch import explain_batch
    from lig_core.config import LIGConfig
    from lig_core.contract import ExplainRequest
    from lig_core.errors import NotConvergedWarning
    from lig_core.loading.describe import describe_boundaries
    from lig_core.loading.given import load
    from lig_core.method import explain
    from lig_core.result.viewer.show import show

__all__ = [
    "ExplainRequest",
    "LIGConfig",
    "NotConvergedWarning",
    "__version__",
    "describe_boundaries",
    "explain",
    "explain_batch",
    "load",
    "show",
]
REMEDY = "pip install 'lig-service[core]'"
"""What to run where a package is missing; a checkout has a Python of its own, in .venv."""
if (Path(__file__).parents[1] / "pyproject.toml").is_file():
    REMEDY = "make install && . .venv/bin/activate"
try:
    __version__ = version("lig-service")
except PackageNotFoundError:
    raise ModuleNotFoundError(f"lig-service is not installed for this Python; run: {REMEDY}") from None

COMPUTING = frozenset({"torch", "transformers", "numpy", "safetensors", "networkx", "greenlet"})
"""Packages that the base install does without, and computing here needs."""
HOMES = {
    "explain": "lig_core.method",
    "explain_batch": "lig_core.batch",
    "describe_boundaries": "lig_core.loading.describe",
    "load": "lig_core.loading.given",
    "ExplainRequest": "lig_core.contract",
    "NotConvergedWarning": "lig_core.errors",
    "LIGConfig": "lig_core.config",
    "show": "lig_core.result.viewer.show",
}


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name not in COMPUTING:
            raise
        message = f"{error.name} is not installed, and {name} needs it; run: {REMEDY}"
        raise ModuleNotFoundError(message, name=error.name) from error
