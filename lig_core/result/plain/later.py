"""What a document holds in place of a value that nobody has asked for yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class Later:
    """A value of a document that `make` makes when it is read or written: data, arrays, and what is made later still.

    No dataclass: orjson would write the fields of one in place of the value.
    """

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def held(document: Mapping[str, Any], name: str) -> Any:
    """A value as the document holds it, made or not: reading it here makes nothing. KeyError where there is none."""
    return dict.__getitem__(document, name) if isinstance(document, dict) else document[name]
