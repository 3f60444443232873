"""Settings as text: for the environment of a child process, and for people. Reads no setting itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

PREFIX = "LIG_"
URL = "redis_url"
"""The one secret of which the rest may be seen."""
PASSWORDS = re.compile(r"([^&=]*password)=[^&]*", re.IGNORECASE)


def as_variables(settings: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Those that are set, secrets as they are."""
    return {f"{PREFIX}{name.upper()}": _plain(value) for name, value in settings if value is not None}


def masked(settings: Iterable[tuple[str, object]]) -> dict[str, str]:
    """All by name as text fit to be printed: secrets are hidden, of Redis's URL its password."""
    return {name: _shown(name, value) for name, value in settings}


def lines(settings: Iterable[tuple[str, object]]) -> str:
    """All as `VARIABLE=value`, one a line, fit to be printed."""
    return "\n".join(f"{PREFIX}{name.upper()}={value}" for name, value in masked(settings).items())


def faults(error: ValueError) -> str:
    """What is wrong with settings that could not be read, by variable: one line without their values."""
    if not isinstance(error, ValidationError):  # of a variable that is no JSON; pydantic-settings names the field
        return " ".join(str(error).split())
    told = ((fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in error.errors(include_input=False))
    return "; ".join(f"{PREFIX}{str(place[0]).upper()}: {text}" for place, text in told)


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
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    shown = parts._replace(netloc=f"{name}{colon and ':***'}{at}{host}", query=PASSWORDS.sub(r"\1=***", parts.query))
    return shown.geturl()
