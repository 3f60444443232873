"""Dicts that are plain data to whoever reads them, and hold arrays until then."""

from __future__ import annotations

import math
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from threading import RLock
from typing import Any, Self

from lig_core.result.plain.later import Later, held
from lig_core.result.plain.text import plain

_READY = (str, int, bool, type(None))
_making = RLock()


class LazyDict(dict[str, Any]):
    """A dict whose values are made when they are first read; from then on it holds what was made.

    To Python it is a dict of plain data: `json.dumps`, `==`, `{**it}`, `copy` and `pickle` read all of it, and what is
    changed stays changed. A library that looks into dicts past their methods (orjson) finds what is held: arrays.
    `lig_core.result.plain.text.to_json` writes those without making anything that stays.
    """

    __slots__ = ("_unread",)

    def __init__(self, *entries: Any, **more: Any) -> None:
        super().__init__(*entries, **more)
        self._unread: set[str] = set()

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """A document that holds arrays, or what is made later, at any depth."""
        lazy = cls(document)
        lazy._unread = {name for name, value in document.items() if not _ready(value)}
        return lazy

    def __getitem__(self, name: str) -> Any:
        if name in self._unread:
            with _making:
                if name in self._unread:
                    super().__setitem__(name, _read(held(self, name)))
                    self._unread.discard(name)
        return super().__getitem__(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._unread.discard(name)
        super().__setitem__(name, value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._unread.discard(name)

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # of its own: `{**it}` and `dict(it)` take the fast way past __getitem__ otherwise

    def get(self, name: str, default: Any = None) -> Any:
        """The value, made where it was not; `default` where there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value, made where it was not; where there is none, `default` from now on."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """The value, made where it was not, which is in it no longer."""
        self.get(name)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """The last of its entries, which is in it no longer."""
        self._whole()
        return super().popitem()

    def update(self, *entries: Any, **more: Any) -> None:
        """Take these entries in."""
        for name, value in dict(*entries, **more).items():
            self[name] = value

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        """All values, made."""
        return dict.values(self._whole())

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        """All entries, made."""
        return dict.items(self._whole())

    def copy(self) -> Self:
        """One with the same values, made."""
        return type(self)(self)

    def __or__(self, other: Any) -> Any:
        return {**self, **other} if isinstance(other, dict) else NotImplemented

    def __ror__(self, other: Any) -> Any:
        return {**other, **self} if isinstance(other, dict) else NotImplemented

    def __ior__(self, other: Any) -> Self:  # type: ignore[override]
        self.update(other)
        return self

    def __eq__(self, other: object) -> bool:
        return super(LazyDict, self._whole()).__eq__(other._whole() if isinstance(other, LazyDict) else other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __repr__(self) -> str:
        return dict.__repr__(self._whole())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ({**self},)

    def _whole(self) -> Self:
        for name in [*self._unread]:
            self[name]
        return self


def _ready(value: Any) -> bool:
    """Whether it is plain data that nobody can change, or makes its own values when they are read."""
    return type(value) in _READY or isinstance(value, LazyDict) or (type(value) is float and math.isfinite(value))


def _read(value: Any) -> Any:
    """What stands in the place of a value once it is read: what a client reads from JSON, dicts lazily."""
    while isinstance(value, Later):
        value = value.make()
    if isinstance(value, dict):
        return LazyDict.of(value)
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [LazyDict.of(entry) for entry in value]
    return plain(value)
