"""The files of a model's tokenizer, checked before any tokenizer reads them. Imports no torch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard, local_file

NO_LIMIT = 10**9
"""Tokenizers write 'no limit' as a number beyond this."""

KNOWN = ("tokenizer*", "*vocab*", "merges.txt", "*.model", "*.spm", "*.tiktoken", "bpe.codes", "tekken.json")
"""Names of tokenizers' files. Some need no more than tokenizer_config.json: those of bytes, characters."""
PIECES = (
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "spm_char.model",
    "tiktoken.model",
    "source.spm",
)
"""Vocabularies that need a package of their own to be read, where no tokenizer.json stands beside them."""
PROTOBUF_START = b"\x0a"
"""The first byte of a SentencePiece model: its first field, a list. Files of tiktoken are lines of base64."""
PACKAGES = {"sentencepiece": "sentencepiece", "google.protobuf": "protobuf", "tiktoken": "tiktoken"}
"""The packages by the modules that they bring."""


def require_tokenizer(card: ModelCard) -> None:
    """Refuse a folder without any tokenizer; raises UnsupportedModel."""
    folder = card.folder
    if folder is not None and folder.is_dir() and not any(True for pattern in KNOWN for _ in folder.glob(pattern)):
        raise UnsupportedModel(
            f"model '{card.name}' comes without a tokenizer; save it there, too: tokenizer.save_pretrained()"
        )


def require_packages(card: ModelCard) -> None:
    """Refuse a vocabulary that packages which are not installed here would read; raises UnsupportedModel."""
    if local_file(card, "tokenizer.json") is not None:
        return
    for file in filter(None, (local_file(card, name) for name in PIECES)):
        lacking = [PACKAGES[module] for module in _modules(file) if not _is_installed(module)]
        if lacking:
            raise UnsupportedModel(
                f"the tokenizer of '{card.name}' is kept in {file.name} alone, and {' and '.join(lacking)} to read it "
                f"{'are' if len(lacking) > 1 else 'is'} not installed here; run: pip install "
                "'lig-service[sentencepiece]', or save it as tokenizer.json"
            )


def most_tokens(card: ModelCard) -> int | None:
    """Tokens that a model and its tokenizer have room for, special ones included, as far as the files here say."""
    return min((n for n in (card.positions, _model_max_length(card)) if n is not None), default=None)


def limit_of(model_max_length: object) -> int | None:
    """The limit that a tokenizer's `model_max_length` sets; None for none."""
    return model_max_length if isinstance(model_max_length, int) and 0 < model_max_length < NO_LIMIT else None


def _model_max_length(card: ModelCard) -> int | None:
    file = local_file(card, "tokenizer_config.json")
    with suppress(OSError, ValueError):  # what is no JSON is refused when the model is loaded
        document = json.loads(file.read_text(encoding="utf-8")) if file is not None else None
        return limit_of(document.get("model_max_length")) if isinstance(document, dict) else None
    return None


def _modules(file: Path) -> Iterator[str]:
    with file.open("rb") as opened:
        pieces = opened.read(1) == PROTOBUF_START
    yield from ("sentencepiece", "google.protobuf") if pieces else ("tiktoken",)


def _is_installed(module: str) -> bool:
    with suppress(ModuleNotFoundError):  # nor is the package around it
        return importlib.util.find_spec(module) is not None
    return False
