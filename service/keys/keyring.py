"""API keys: who calls, what each caller may do, and how much.

A key reads `lig_<id>_<secret>`; the secret is 256 random bits. What is configured is the id and a salted hash:
HMAC-SHA256 of the secret under the key's own salt. Slow hashes such as argon2 are for passwords, which people
choose and others can guess; 256 random bits cannot be guessed at any speed, so one fast hash a request is enough.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from service.keys.scopes import Scope

SALT_BYTES, SECRET_BYTES = 16, 32
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class KeysError(Exception):
    """The configured keys cannot be used; the text says why, and shows no key."""


class KeyEntry(BaseModel):
    """A key as it is configured. Several entries may share a name, so that a key can be replaced without a gap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{12}$", description="The part of the key that is no secret.")
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="Who calls; owns the jobs.")
    salt: str = Field(pattern=r"^[0-9a-f]{32}$")
    hash: str = Field(pattern=r"^[0-9a-f]{64}$", description="HMAC-SHA256 of the secret under the salt.")
    scopes: tuple[Scope, ...] = Field(default=("explain", "read"), min_length=1)
    rate: Positive | None = Field(default=None, description="Estimated seconds of compute a minute; null: any.")
    concurrency: int | None = Field(default=None, ge=1, description="Jobs queued or running at once; null: any.")


@dataclass(frozen=True)
class Caller:
    """The sender of a request. `name` owns the jobs; `rate` is estimated seconds of compute a minute, None: any."""

    name: str
    scopes: frozenset[Scope]
    rate: float | None = None
    concurrency: int | None = None


ANONYMOUS = Caller("anonymous", frozenset(get_args(Scope)))
"""Everyone, where no keys are configured."""

_ENTRIES = TypeAdapter(list[KeyEntry])
_NOBODY = KeyEntry(id="0" * 12, name="nobody", salt="0" * 32, hash="0" * 64)


class Keyring:
    """The configured keys."""

    def __init__(self, entries: Iterable[KeyEntry]) -> None:
        self._entries = {entry.id: entry for entry in entries}

    @classmethod
    def parse(cls, text: str | bytes, source: str) -> Keyring:
        """The keys of a JSON list of entries; raises KeysError, which names `source` and shows no value."""
        try:
            entries = _ENTRIES.validate_json(text)
        except ValidationError as error:
            faults = (f"/{'/'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
            raise KeysError(f"{source}: {'; '.join(faults)}; `lig keys new NAME` makes an entry") from None
        if len({entry.id for entry in entries}) < len(entries):
            raise KeysError(f"{source}: two entries have the same id; make a new key for one of them")
        if any(entry.name == ANONYMOUS.name for entry in entries):
            raise KeysError(f"{source}: '{ANONYMOUS.name}' is the name of callers without keys; choose another")
        return cls(entries)

    def caller(self, key: str) -> Caller | None:
        """The caller whose key this is, None where it is nobody's."""
        prefix, _, rest = key.partition("_")
        key_id, _, secret = rest.partition("_")
        entry = self._entries.get(key_id, _NOBODY)
        # Compared for unknown ids as well: how long the answer takes tells nothing.
        matches = hmac.compare_digest(secret_hash(entry.salt, secret), entry.hash)
        if prefix != "lig" or entry is _NOBODY or not matches:
            return None
        return Caller(entry.name, frozenset(entry.scopes), entry.rate, entry.concurrency)


def secret_hash(salt: str, secret: str) -> str:
    """The hash that is kept of a secret."""
    return hmac.new(bytes.fromhex(salt), secret.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def new_key(
    name: str, scopes: Iterable[Scope], rate: float | None = None, concurrency: int | None = None
) -> tuple[str, KeyEntry]:
    """A fresh key and its entry; the key is nowhere else. Raises pydantic's ValidationError."""
    key_id, salt, secret = secrets.token_hex(6), secrets.token_hex(SALT_BYTES), secrets.token_urlsafe(SECRET_BYTES)
    entry = KeyEntry(
        id=key_id,
        name=name,
        salt=salt,
        hash=secret_hash(salt, secret),
        scopes=tuple(scopes),
        rate=rate,
        concurrency=concurrency,
    )
    return f"lig_{key_id}_{secret}", entry
