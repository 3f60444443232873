"""What makes two requests the same work: the request, the model's files, and this code's version."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import orjson
from huggingface_hub import try_to_load_from_cache

from lig_core.catalog import ModelCard
from lig_core.contract import ExplainRequest

CHANGES_NO_NUMBER = {"priority"}
WEIGHTS = ("*.safetensors", "*.bin")


def request_digest(request: ExplainRequest, identity: str) -> str:
    """Equal for requests that have equal results, as hexadecimal SHA-256; `identity` is the model's."""
    canonical = request.model_dump(mode="json", exclude=CHANGES_NO_NUMBER)
    canonical["granularity"] = list(request.maps)
    described = {"request": canonical, "model": identity, "code": code_version()}
    return hashlib.sha256(orjson.dumps(described, option=orjson.OPT_SORT_KEYS)).hexdigest()


def model_identity(card: ModelCard) -> str:
    """The revision of a hub model; of a folder its config, and the names, sizes and times of its weights.

    A hub model that is not here yet, and has no revision that is a commit, is known by its name alone.
    """
    folder = Path(card.source)
    if folder.is_dir():
        files = [file for pattern in WEIGHTS for file in sorted(folder.glob(pattern))]
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        return orjson.dumps([card.name, card.config, stats], option=orjson.OPT_SORT_KEYS).decode()
    cached = try_to_load_from_cache(card.source, "config.json", revision=card.revision)
    if isinstance(cached, str):  # …/snapshots/<commit>/config.json
        return f"{card.source}@{Path(cached).parent.name}"
    return f"{card.source}@{card.revision or ''}"


@lru_cache(maxsize=1)
def code_version() -> str:
    """The version of the code that is running."""
    return version("lig-service")
