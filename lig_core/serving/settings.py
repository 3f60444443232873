"""Settings that the service and the worker both have, and how either is read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lig_core.serving.queue import address
from lig_core.serving.queue.names import QUEUE_NAME
from lig_core.serving.settings_text import PREFIX, as_variables, faults


class BadSettings(Exception):
    """Settings that cannot be read; the text names each in one line, without its value."""


class CommonSettings(BaseSettings):
    """Every field is the variable `LIG_<FIELD>`. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

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
