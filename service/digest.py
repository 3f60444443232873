"""What makes two requests the same work: the request, the model's files, and this code's version."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import version

import orjson

from lig_core.contract import ExplainRequest


def request_digest(request: ExplainRequest, identity: str) -> str:
    """Equal for requests that have equal results, as hexadecimal SHA-256; `identity` is the model's."""
    described = {"request": request.canonical(), "model": identity, "code": code_version()}
    return hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()


@lru_cache(maxsize=1)
def code_version() -> str:
    """The version of the code that is running."""
    return version("lig-service")
