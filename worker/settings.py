"""What a worker can be told, from `LIG_*` variables. The only module of the worker that reads the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lig_core.serving.queue import address
from lig_core.serving.queue.names import QUEUE_NAME
from lig_core.serving.settings_text import as_variables

PARENT_VARIABLE = "LIG_WORKER_PID"
"""Tells the process with the models whose it is."""


class Settings(BaseSettings):
    """Settings of a worker; every field is the variable `LIG_<FIELD>`. Durations are seconds."""

    model_config = SettingsConfigDict(env_prefix="LIG_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    redis_url: SecretStr | None = Field(default=None, description="The Redis that the API uses.")
    queue: str = Field(
        default="lig",
        pattern=QUEUE_NAME,
        description="Name of the service in Redis: API and workers of one name are one service, those of two names "
        "share nothing, on one database too.",
    )
    models_folder: Path | None = Field(default=None, description="Folder of models that requests may name.")
    device: str | None = Field(default=None, description="Such as cpu or cuda:0; absent: the best there is.")
    preload: list[str] = Field(default=[], description="Models to load before the first job, as a JSON list.")
    model_budget: int | None = Field(
        default=None, ge=1, description="Bytes that loaded models may take; absent: half of the device's memory."
    )
    allow_eviction: bool = Field(default=False, description="Work with a Redis that may drop jobs.")
    lease: float = Field(default=20.0, ge=1, description="A silent worker's job is given to another after this long.")
    load_timeout: float = Field(default=300.0, gt=0, description="How long preloading the models may take.")
    drain_grace: float = Field(
        default=7.0, ge=0, description="On SIGTERM, how long a running job may go on before it is queued again."
    )
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

    def as_environment(self) -> dict[str, str]:
        """These settings as the environment of the process with the models, on top of this process's own."""
        return {**os.environ, **as_variables(self), **self._device_environment()}

    def _device_environment(self) -> dict[str, str]:
        """One GPU, the one meant, is all that the process with the models sees."""
        index = re.fullmatch(r"cuda:(\d+)", self.device or "")
        if index is None:
            return {}
        visible = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
        number = int(index[1])
        # Numbers count among the devices that this process may see.
        return {"CUDA_VISIBLE_DEVICES": visible[number] if number < len(visible) else str(number), "LIG_DEVICE": "cuda"}
