"""What the service can be told, from `LIG_*` variables. The only module of the service that reads the environment."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Settings of the service; every field is the variable `LIG_<FIELD>`. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="LIG_", frozen=True, env_ignore_empty=True)

    redis_url: SecretStr | None = Field(default=None, description="Redis to use; absent: `lig serve` starts its own.")
    redis_server: Path | None = Field(default=None, description="The redis-server or valkey-server binary to start.")
    redis_fsync: Literal["everysec", "always"] = Field(
        default="everysec", description="How soon the embedded Redis has what it accepted on disk."
    )
    allow_eviction: bool = Field(default=False, description="Work with a Redis that may drop jobs.")
    redis_timeout: float = Field(default=2.0, gt=0, description="How long one Redis command may take before 503.")
    data_dir: Path = Field(default=Path(".lig"), description="Where the embedded Redis keeps its socket and its log.")
    models_folder: Path | None = Field(default=None, description="Folder of models that requests may name.")
    ask_hub: bool = Field(
        default=True, description="Look a model up on the hub before queueing; off where only workers reach it."
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535, description="0 picks a free port.")
    insecure_bind: bool = Field(
        default=False, description="Allow an address other than loopback although there are no keys."
    )

    queue: str = Field(default="lig", pattern=r"^[A-Za-z0-9_-]+$")
    max_body_bytes: int = Field(default=256 * 1024, ge=1)
    max_embedded_result_bytes: int = Field(default=256 * 1024, ge=0)
    max_wait: float = Field(default=60.0, ge=0, description="Longest long-poll.")
    queue_timeout: float = Field(default=0.0, ge=0, description="Longest wait for a start; 0: no limit.")
    job_timeout: int = Field(default=3600, ge=1, description="Longest run of one job, each attempt by itself.")
    total_timeout: float = Field(default=0.0, ge=0, description="Longest time from acceptance to end; 0: no limit.")
    result_ttl: int = Field(default=24 * 3600, ge=1, description="How long a result is kept.")
    failure_ttl: int = Field(default=24 * 3600, ge=1, description="How long a failure is kept.")
    expired_ttl: int = Field(default=24 * 3600, ge=0, description="How long after that a job is known to have expired.")
    idempotency_ttl: int = Field(default=24 * 3600, ge=1, description="How long an idempotency key is known.")
    max_backlog: float = Field(
        default=600.0, gt=0, description="Estimated wait, in seconds, beyond which work is refused."
    )
    event_comment_seconds: float = Field(
        default=15.0, gt=0, description="After how much silence a stream of events sends a comment."
    )
    event_cache_bytes: int = Field(
        default=64 * 2**20, ge=0, description="Memory for layers that were last sent as events."
    )
    max_events: int = Field(default=1000, ge=1, description="Events kept of a job; beyond it old progress goes.")
    crash_retries: int = Field(default=2, ge=0, description="How often a job is run again after its worker died.")

    start_timeout: float = Field(default=120.0, gt=0, description="How long `lig serve` waits to become ready.")
    stop_grace: float = Field(
        default=10.0, ge=0, description="How long a process may take to stop before it is killed."
    )

    @property
    def bind_refusal(self) -> str | None:
        """Why the service may not listen on `host`, or None where it may."""
        if self.insecure_bind or not self._binds_beyond_this_machine:
            return None
        return (
            f"{self.host} can be reached by other machines and there are no keys; listen on 127.0.0.1, "
            "or set LIG_INSECURE_BIND=true (lig serve --insecure-bind) if something in front guards it"
        )

    @property
    def _binds_beyond_this_machine(self) -> bool:
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True

    def as_environment(self) -> dict[str, str]:
        """These settings as the environment of a child process, on top of this process's own."""
        given = {f"LIG_{name.upper()}": _plain(value) for name, value in self if value is not None}
        return {**os.environ, **given}

    def masked(self) -> dict[str, str]:
        """Every setting as text fit to be printed: the password in a URL is hidden."""
        shown = {name: "-" if value is None else _plain(value) for name, value in self}
        if self.redis_url is not None:
            shown["redis_url"] = _without_password(self.redis_url.get_secret_value())
        return shown


def _plain(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    # A child may have another working directory.
    return str(value.absolute()) if isinstance(value, Path) else str(value)


def _without_password(url: str) -> str:
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url
