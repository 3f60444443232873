"""The options of `explain()` as one object."""

from lig_core.config import LIGConfig

__all__ = ["LIGConfig"]
