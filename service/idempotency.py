"""The Idempotency-Key header, and what makes two bodies the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from lig_core.errors import FieldError, InvalidRequest

LONGEST_KEY = 255


def read_key(headers: Sequence[str], path: str, body: Any) -> tuple[str, str] | None:
    """The key and a digest of what was sent with it; raises InvalidRequest.

    `path` is the route without its version: one key cannot stand for two kinds of request.
    """
    if not headers:
        return None
    (key,) = headers if len(headers) == 1 else ("",)
    if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
        detail = f"send one Idempotency-Key of 1 to {LONGEST_KEY} printable ASCII characters, such as a UUID"
        raise InvalidRequest(f"Idempotency-Key: {detail}", errors=[FieldError("/header/idempotency-key", detail)])
    canonical = orjson.dumps([path, body], option=orjson.OPT_SORT_KEYS)
    return key, hashlib.sha256(canonical).hexdigest()
