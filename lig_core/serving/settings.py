"""Settings that the service and the worker both have; and settings as text, for child processes and for people."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lig_core.serving.queue import address
from lig_core.serving.queue.names import QUEUE_NAME

PREFIX = "LIG_"
URL = "redis_url"
"""The one secret of which the rest may be seen."""
SECRETS = ("/run/secrets", os.environ.get("CREDENTIALS_DIRECTORY", ""))
"""Where Docker, Podman and Kubernetes show secrets as files by custom, and where systemd does."""
PASSWORDS = re.compile(r"([^&=]*password)=[^&]*", re.IGNORECASE)


class BadSettings(Exception):
    """Settings that cannot be read; the text names each in one line, without its value."""


def folders_of_secrets(places: Iterable[str]) -> list[str]:
    """Those that are there and can be looked into."""
    return [place for place in places if place and Path(place).is_dir() and os.access(place, os.R_OK | os.X_OK)]


class CommonSettings(BaseSettings):
    """Every field is the variable `LIG_<FIELD>`, else the file `lig_<field>` among secrets.

    Durations are seconds, sizes bytes.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
        secrets_dir=folders_of_secrets(SECRETS),
    )

    redis_url: SecretStr | None = Field(default=None, description="The Redis that the API uses.")
    queue: str = Field(
        default="lig",
        pattern=QUEUE_NAME,
        description="Name of the service in Redis: API and workers of one name are one service, those of two names "
        "share nothing, on one database too.",
    )
    allow_eviction: bool = Field(default=False, description="Work with a Redis that may drop jobs.")
    models_folder: Path | None = Field(default=None, description="Folder of models that requests may name.")
    log_format: Literal["json", "text"] = Field(default="json", description="One JSON object a line, or plain text.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged; other libraries' from `warning` on."
    )

    @field_validator("redis_url")
    @classmethod
    def _redis_can_be_there(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            address.check(url.get_secret_value())
        return url

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Those given, but for None, and the rest from the environment; raises BadSettings."""
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValueError as error:
            raise BadSettings(f"settings: {faults(error)}") from None

    @property
    def redis_address(self) -> str:
        """Redis's URL with its password, empty where there is none."""
        return self.redis_url.get_secret_value() if self.redis_url is not None else ""

    def as_environment(self) -> dict[str, str]:
        """These settings as the environment of a child process, on top of this process's own."""
        return {**os.environ, **as_variables(self)}


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
    """The faults of settings that could not be read, by variable: one line without their values."""
    if not isinstance(error, ValidationError):  # of a variable that is no JSON; pydantic-settings names the field
        return " ".join(str(error).split())
    texts = ((fault["loc"], fault["msg"].removeprefix("Value error, ")) for fault in error.errors(include_input=False))
    return "; ".join(f"{PREFIX}{str(place[0]).upper()}: {text}" for place, text in texts)


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
