"""The source of the keys: a file that is read again when it changes, a variable, or nowhere."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from service.keys.keyring import ANONYMOUS, Caller, Keyring, KeysError
from service.settings import Settings

log = logging.getLogger(__name__)


class KeySource(Protocol):
    """Knows the callers."""

    def caller(self, key: str | None) -> Caller | None:
        """The caller who sends this key, or none at all; None where that is nobody."""


class Open:
    """No keys: everyone is the same caller."""

    def caller(self, key: str | None) -> Caller | None:
        """Everyone is anonymous, whatever is sent."""
        return ANONYMOUS


class FixedKeys:
    """Keys that stay as they are while the process runs."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def caller(self, key: str | None) -> Caller | None:
        """The caller whose key this is."""
        return None if key is None else self._keys.caller(key)


class KeysFile:
    """Keys of a file, read again when it changes. A change that cannot be read is logged and leaves the old keys."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._last_stamp = self._stamp()
            self._keys = self._read()
        except OSError as error:
            raise KeysError(f"LIG_KEYS_FILE={path}: {error.strerror}") from None

    def caller(self, key: str | None) -> Caller | None:
        """The caller whose key this is, by the file as it stands now."""
        if key is None:
            return None
        self._follow()
        return self._keys.caller(key)

    def _follow(self) -> None:
        try:
            stamp = self._stamp()
            if stamp == self._last_stamp:
                return
            self._last_stamp = stamp
            self._keys = self._read()
            log.info("keys file read again")
        except OSError as error:
            log.warning("keys file: %s; the keys read before stay in force", error.strerror)
        except KeysError as error:
            log.warning("%s; the keys read before stay in force", error)

    def _read(self) -> Keyring:
        return Keyring.parse(self._path.read_bytes(), f"LIG_KEYS_FILE={self._path}")

    def _stamp(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_mtime_ns, stat.st_size, stat.st_ino  # a replaced file may have the time of the old one


def key_source(settings: Settings) -> KeySource:
    """The keys that the settings name; raises KeysError where they cannot be used."""
    if settings.keys_file is not None:
        return KeysFile(settings.keys_file)
    if settings.keys is not None:
        return FixedKeys(Keyring.parse(settings.keys.get_secret_value(), "LIG_KEYS"))
    return Open()
