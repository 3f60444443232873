"""The service's address and the caller's key: checked once, the same for both clients."""

from __future__ import annotations

import os
from typing import Any

import httpx

from lig_core.client.calls import ANSWER_SECONDS
from lig_core.errors import InvalidRequest

DEFAULT_URL = "http://127.0.0.1:8000"
API_KEY_VARIABLE = "LIG_API_KEY"


def connection(base_url: str, api_key: str | None) -> dict[str, Any]:
    """Arguments of an httpx client; raises InvalidRequest for an address or a key that cannot be one."""
    key = (os.environ.get(API_KEY_VARIABLE, "") if api_key is None else api_key).strip()
    if not (key.isascii() and key.isprintable()):
        raise InvalidRequest(f"the API key has characters that no key has; see --api-key and {API_KEY_VARIABLE}")
    return {
        "base_url": _address(base_url),
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "timeout": ANSWER_SECONDS,
        "limits": httpx.Limits(max_connections=None),  # listeners hold theirs for as long as a job takes
    }


def _address(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise InvalidRequest(f"{base_url!r} is not the address of a service; write it as {DEFAULT_URL}")
    return url
