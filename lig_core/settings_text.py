"""Settings as text: for the environment of a child process, and for people. Reads no setting itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

PREFIX = "LIG_"
URL = "redis_url"
"""The one secret of which the rest may be seen."""


def as_variables(settings: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Those that are set, secrets as they are."""
    return {f"{PREFIX}{name.upper()}": _plain(value) for name, value in settings if value is not None}


def masked(settings: Iterable[tuple[str, object]]) -> dict[str, str]:
    """All by name as text fit to be printed: secrets are hidden, of Redis's URL its password."""
    return {name: _shown(name, value) for name, value in settings}


def lines(settings: Iterable[tuple[str, object]]) -> str:
    """All as `VARIABLE=value`, one a line, fit to be printed."""
    return "\n".join(f"{PREFIX}{name.upper()}={value}" for name, value in masked(settings).items())


def _shown(name: str, value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, SecretStr):
        return _without_password(value.get_secret_value()) if name == URL else "***"
    return _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    # A child may have another working directory.
    return str(value.absolute()) if isinstance(value, Path) else str(value)


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url
