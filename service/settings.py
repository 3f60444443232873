"""The settings of the service, from `LIG_*` variables. The only module of the service that reads the environment."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from lig_core.serving.settings import CommonSettings

SEGMENTS = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~!$&'()*+;=:@-]+)*")
"""Segments that mean the same whether they are percent-encoded or not; none of them empty, `.` or `..`."""
SECRET_BYTES = (24, 64)
"""The shortest and the longest secret for webhooks, in bytes (standardwebhooks.com)."""

OWN_PATHS = {
    "v1",
    "explain",
    "experiments",
    "jobs",
    "diff",
    "models",
    "docs",
    "openapi.json",
    "livez",
    "readyz",
    "startupz",
    "metrics",
}
"""First segments of the paths of routes."""

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""This machine's own hosts."""


class Settings(CommonSettings):
    """Beside the common settings, those of the service alone."""

    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis to use: `redis://`, `rediss://`, `unix://`, or "
        "`redis+sentinel://host:26379,…/name-of-the-master` (a master that fails takes along what its replicas had not "
        "got yet); absent: `lig serve` starts its own.",
    )
    redis_server: Path | None = Field(default=None, description="The redis-server or valkey-server binary to start.")
    redis_fsync: Literal["everysec", "always"] = Field(
        default="everysec", description="How soon the embedded Redis has what it accepted on disk."
    )
    redis_timeout: float = Field(default=2.0, gt=0, description="How long one Redis command may take before 503.")
    data_dir: Path = Field(
        default=Path(".lig"),
        description="Where the embedded Redis keeps its socket and its log; `lig jobs` and `lig top` find it by this.",
    )
    ask_hub: bool = Field(
        default=True, description="Look a model up on the hub before queueing; off where only workers reach it."
    )

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=8000, ge=0, le=65535, description="0 picks a free port.")
    insecure_bind: bool = Field(
        default=False, description="Allow an address other than loopback although there are no keys."
    )
    keys_file: Path | None = Field(
        default=None, description="JSON file of keys (`lig keys new`), read again when it changes; absent: no keys."
    )
    keys: SecretStr | None = Field(default=None, description="The same JSON list, where a file is unhandy.")
    allowed_hosts: list[str] | None = Field(
        default=None,
        description="Hosts or patterns, as a JSON list, that requests may name in `Host` beside this machine's own; "
        "absent: any, but on loopback without keys none.",
    )
    root_path: str = Field(
        default="",
        description="Path prefix such as `/lig` under which a proxy serves this; it may take the prefix off or leave "
        "it. Links in webhooks have it too, and those of `lig jobs show` where its own shell has this variable.",
    )
    trusted_proxies: list[str] = Field(
        default=["127.0.0.0/8", "::1/128"],
        description="Addresses or networks of proxies and load balancers in front, as a JSON list: not limited as one "
        "client is, and their `X-Forwarded-Prefix` (what they took off the path) goes before LIG_ROOT_PATH.",
    )
    cors_origins: list[str] = Field(
        default=[],
        description='Origins whose web pages may call from a browser, as a JSON list; `["*"]`: any. Give no `*` to a '
        "service without keys.",
    )
    allowed_models: list[str] | None = Field(
        default=None,
        description="Models that may be asked for, as a JSON list of ids or patterns (`google-bert/*`); absent: any.",
    )

    max_head_bytes: int = Field(
        default=64 * 1024, ge=1024, description="Largest head of a request: its line and header fields."
    )
    max_body_bytes: int = Field(default=256 * 1024, ge=1, description="Largest request body.")
    head_timeout: float = Field(
        default=10.0,
        gt=0,
        description="How long a request's head may take to arrive, from the connection's start or its first byte.",
    )
    body_timeout: float = Field(default=30.0, gt=0, description="How long a request's body may take to arrive.")
    send_timeout: float = Field(
        default=60.0, gt=0, description="After how long a connection is closed whose client takes nothing of an answer."
    )
    max_connections: int = Field(
        default=8192,
        ge=1,
        description="Most connections, as far as open files allow; beyond it those that only wait are closed.",
    )
    max_client_connections: int = Field(
        default=4096,
        ge=1,
        description="Most connections of one address (IPv6: of one /64), and never more than half of all.",
    )
    max_result_bytes: int = Field(
        default=512 * 2**20, ge=1, description="Largest result accepted, by its estimated size as JSON."
    )
    max_embedded_result_bytes: int = Field(
        default=256 * 1024, ge=0, description="Largest result that is put into the answer about its job."
    )
    max_batch: int = Field(default=256, ge=1, description="Most texts of one batch.")
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

    webhook_secret: SecretStr | None = Field(
        default=None,
        description="`whsec_` and base64 of 24 to 64 random bytes, to sign webhooks with; absent: they are refused.",
    )
    webhook_allow: list[str] | None = Field(
        default=None,
        description="Hosts or patterns, as a JSON list, that webhooks may reach by plain http and in private networks.",
    )
    webhook_retries: list[float] = Field(
        default=[5, 300, 1800, 7200, 18000, 21600, 36000],
        description="Waits before a webhook that failed is tried again, as a JSON list; after the last it is given up.",
    )

    start_timeout: float = Field(default=120.0, gt=0, description="How long `lig serve` waits to become ready.")
    drain_delay: float = Field(
        default=0.0,
        ge=0,
        description="On a signal to stop, how long an API goes on as before, but for `/readyz`, until load balancers "
        "send it nothing more.",
    )
    stop_grace: float = Field(
        default=10.0, ge=0, description="How long a process may take to stop before it is killed."
    )

    @field_validator("root_path")
    @classmethod
    def _root_path_is_one(cls, path: str) -> str:
        prefix = joined_prefix([path])
        if prefix is None:
            raise ValueError("write it as /a or /a/b, of letters, digits and ._~!$&'()*+;=:@-")
        if prefix.split("/")[1:2] and prefix.split("/")[1] in OWN_PATHS:
            raise ValueError(f"paths of the service itself begin with /{prefix.split('/')[1]}; choose another prefix")
        return prefix

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_have_addresses(cls, proxies: list[str]) -> list[str]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise ValueError(f"{error}; write 10.0.0.7 or 10.0.0.0/8") from None
        return proxies

    @field_validator("webhook_secret")
    @classmethod
    def _secret_is_one(cls, secret: SecretStr | None) -> SecretStr | None:
        prefix, _, encoded = secret.get_secret_value().partition("_") if secret else ("whsec", "", "")
        try:
            length = len(base64.b64decode(encoded, validate=True)) if secret else SECRET_BYTES[0]
        except binascii.Error:
            length = 0
        if prefix != "whsec" or not SECRET_BYTES[0] <= length <= SECRET_BYTES[1]:
            raise ValueError('make one with: echo "whsec_$(openssl rand -base64 32)"')
        return secret

    @property
    def needs_keys(self) -> bool:
        """True if callers must have a key: where keys are configured, be the list empty."""
        return self.keys_file is not None or self.keys is not None

    @property
    def bind_refusal(self) -> str | None:
        """Why the service may not listen on `host`, or None where it may."""
        if self.needs_keys or self.insecure_bind or not self._binds_beyond_this_machine:
            return None
        return (
            f"{self.host} can be reached by other machines and there are no keys; make one with `lig keys new`, listen "
            "on 127.0.0.1, or set LIG_INSECURE_BIND=true (lig serve --insecure-bind) if something in front guards it"
        )

    @property
    def hosts(self) -> list[str] | None:
        """Hosts or patterns that requests may be addressed to; None: any.

        An open service on loopback answers to this machine's own names alone: see `service.http.origins`.
        """
        if self.allowed_hosts is None and (self.needs_keys or self._binds_beyond_this_machine):
            return None
        return [*LOOPBACK, self.host, *(self.allowed_hosts or ())]

    @property
    def _binds_beyond_this_machine(self) -> bool:
        if self.host == "localhost":
            return False
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return True


def joined_prefix(parts: Sequence[str]) -> str | None:
    """The prefix that these make, the outermost first, without a slash at its end; None where they make none."""
    prefix = "".join(part.strip().rstrip("/") for part in parts)
    return prefix if SEGMENTS.fullmatch(prefix) else None
