"""W3C Trace Context: which trace a request is part of (https://www.w3.org/TR/trace-context/)."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE, _NO_SPAN, _NO_VERSION = "0" * 32, "0" * 16, "ff"
SAMPLED = 1


@dataclass(frozen=True)
class Traceparent:
    """A trace, the span in it that is at work, and whether it is recorded."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{SAMPLED if self.sampled else 0:02x}"

    def child(self) -> Traceparent:
        """A new span in the same trace."""
        return Traceparent(self.trace_id, new_id(64), self.sampled)


def new_id(bits: int) -> str:
    """Hexadecimal digits like no others. No secret: who sees many can foretell more.

    The system's randomness, which costs a switch of threads each time it is asked, makes a tenth of a POST.
    """
    return f"{random.getrandbits(bits):0{bits // 4}x}"


def parse(header: str) -> Traceparent | None:
    """A `traceparent` header, None where it is not valid. A later version's is read as far as this one goes."""
    match = _FORM.fullmatch(header)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == _NO_VERSION or trace_id == _NO_TRACE or span_id == _NO_SPAN or (version == "00" and more):
        return None
    return Traceparent(trace_id, span_id, bool(int(flags, 16) & SAMPLED))


def new_trace() -> Traceparent:
    """The first span of a trace of its own; not recorded, for nobody asked for it."""
    return Traceparent(new_id(128), new_id(64), sampled=False)
