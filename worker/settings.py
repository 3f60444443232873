"""What a worker can be told, from `LIG_*` variables. The only module of the worker that reads the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of a worker; every field is the variable `LIG_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="LIG_", frozen=True, env_ignore_empty=True)

    redis_url: SecretStr | None = Field(default=None, description="The Redis that the API uses.")
    queue: str = Field(default="lig", pattern=r"^[A-Za-z0-9_-]+$")
    models_folder: Path | None = Field(default=None, description="Folder of models that requests may name.")
    device: str | None = Field(default=None, description="Such as cpu or cuda:0; absent: the best there is.")
    preload: list[str] = Field(default=[], description="Models to load before the first job, as a JSON list.")
    models_in_memory: int = Field(default=2, ge=1, description="How many models stay loaded.")
