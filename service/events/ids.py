"""Ids of events: `1700000000000-0`, milliseconds and a number, in the order in which things happened."""

from __future__ import annotations

import re
from functools import lru_cache

from lig_core.errors import FieldError, InvalidRequest

_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_LARGEST = 2**63 - 1
KEPT = 1024
"""Ids that are read once: those that all listeners to a computation are at."""


def parse(text: str, pointer: str) -> str:
    """An id as a client sent it; raises InvalidRequest, which points at where it was sent."""
    match = _ID.fullmatch(text)
    if match is None or max(map(int, match.groups())) > _LARGEST:
        detail = f"'{text[:80]}' is no event's id; send one that was received, such as 1700000000000-0, or none"
        raise InvalidRequest(detail, errors=[FieldError(pointer, detail)])
    return text


def later(one: str, other: str) -> bool:
    """True if the event `one` came after the `other`."""
    return order(one) > order(other)


def following(event_id: str) -> str:
    """The id right after."""
    first, second = order(event_id)
    return f"{first}-{second + 1}"


def preceding(event_id: str) -> str:
    """An id right before: no event's, later than those of all events before."""
    first, second = order(event_id)
    return f"{first}-{second - 1}" if second else f"{first - 1}-{_LARGEST}"


@lru_cache(KEPT)
def order(event_id: str) -> tuple[int, int]:
    """The key that ids are sorted by."""
    first, _, second = event_id.partition("-")
    return int(first), int(second or 0)
