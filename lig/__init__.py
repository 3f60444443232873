"""The names that the authors' library (layer-wise-integrated-gradients) has, for code that was written for it.

    from lig import explain

`lig_core` is the library itself; this package only takes calls as theirs takes them (docs/migrate.md). Both have a
package of this name, and files of the one lie over those of the other: where theirs is installed, importing it is
refused.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lig.api import describe_boundaries, explain, explain_to_json
    from lig.config import LIGConfig

THEIRS = "layer-wise-integrated-gradients"

try:
    distribution(THEIRS)
except PackageNotFoundError:
    pass
else:
    raise ImportError(
        f"{THEIRS} is installed here, too, and its package is called `lig` as well; import from lig_core, or keep one "
        f"of them: pip uninstall {THEIRS}, then pip install --force-reinstall --no-deps lig-service"
    )

__all__ = ["LIGConfig", "__version__", "describe_boundaries", "explain", "explain_to_json"]
__version__ = version("lig-service")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("lig.config" if name == "LIGConfig" else "lig.api"), name)  # the latter loads torch
