"""The Prefer header (RFC 7240), as far as `wait` goes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WAIT = re.compile(r"wait\s*=\s*(?:(\d+)|\"(\d+)\")\s*(?:;.*)?", re.IGNORECASE)


def wait_seconds(headers: Sequence[str]) -> int | None:
    """The seconds of the first `wait=n` in these `Prefer` headers; None without one. What is not understood is ignored.

    >>> wait_seconds(["respond-async, wait=10"])
    10
    """
    for preference in ",".join(headers).split(","):
        found = _WAIT.fullmatch(preference.strip())
        if found is not None:
            return int(found[1] or found[2])
    return None
