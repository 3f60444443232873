"""The identity of a model among others of its name: its content, the same on every host that has the same.

Of a hub model its commit, of a bundled one the version of its package (and how that is converted), of a folder SHA-256
over the files that loading reads: their names and what they say, not their times or where they lie. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from lig_core.models.bundled.packages import bundled_identity
from lig_core.models.catalog import ADAPTER, READ, ModelCard, cached_commit

WHOLE = "model.safetensors"
SHARDS = "model.safetensors.index.json"
SETTLED_SECONDS = 2.0
"""A file that changed less than this ago may change again within one tick of its file system's clock."""


def model_identity(card: ModelCard) -> str | None:
    """The identity of the model's content; None where that is not here, or a folder is without weights.

    Reads all weights of a folder the first time, about a second a gigabyte, and again once they changed.
    """
    if card.is_bundled:
        return bundled_identity(card.name)
    return cached_commit(card) if card.folder is None else folder_digest(card.folder)


def folder_digest(folder: Path) -> str | None:
    """Hexadecimal SHA-256 of the lines `name SHA-256` of the files that loading reads; None without weights."""
    files = loaded_files(folder)
    if not any(file.suffix == ".safetensors" for file in files):
        return None
    lines = []
    for file in files:
        with suppress(FileNotFoundError):  # it went while this looked: the folder is another next time
            lines.append(f"{file.name} {_file_digest(file)}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def loaded_files(folder: Path) -> list[Path]:
    """Configs, tokenizer and weights, in the order of their names; weights are those that transformers chooses."""
    weights = {WHOLE} if (folder / WHOLE).is_file() else _shards(folder / SHARDS)
    names = weights | {ADAPTER}
    return sorted(
        file
        for file in folder.iterdir()
        if (file.name in names or file.name.endswith(READ)) and not file.name.startswith(".") and file.is_file()
    )


def stamp(folder: Path) -> tuple[object, ...]:
    """A value that changes when those files do, without reading them: names, sizes, times, inodes."""
    stamps: list[object] = []
    for file in loaded_files(folder):
        with suppress(FileNotFoundError):
            stamps.append((file.name, *_stamp(file.stat())))
    return tuple(stamps)


def _stamp(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _shards(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # none there, or a damaged one: loading says so
        return set()


def _file_digest(file: Path) -> str:
    stat = file.stat()
    age = time.time() - max(stat.st_mtime, stat.st_ctime)
    if 0 <= age < SETTLED_SECONDS:
        return _read_digest(str(file))
    return _kept_digest(str(file), _stamp(stat))


@lru_cache(maxsize=4096)
def _kept_digest(file: str, stamp: tuple[int, ...]) -> str:
    return _read_digest(file)


def _read_digest(file: str) -> str:
    with Path(file).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
