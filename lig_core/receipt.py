"""The head of a result, known before any layer is computed, and in it the receipt of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
import transformers

from lig_core.contract import ALL_MAPS, ExplainRequest, JobRequest
from lig_core.loading.encoding import TextTokens
from lig_core.loading.loaded import LoadedModel

BESIDE = {"text", "tokens", "model", "on_unconverged", "priority", "labels"}
"""Fields of a request that are not repeated in `config`: what is explained, and what changes no number."""


def result_head(
    request: ExplainRequest, model: LoadedModel, text: TextTokens, targets: Sequence[int], layers: Sequence[int]
) -> dict[str, Any]:
    """The result document without `layers` and the verdict on them, as JSON-able data."""
    boundaries = model.boundaries()
    return {
        "text": text.text,
        "tokens": list(text.tokens),
        "token_labels": text.labels,
        "offsets": text.offsets,
        "words": text.words,
        "model": request.model,
        "model_type": model.card.model_type,
        "config": {
            **request.model_dump(exclude=BESIDE),
            "granularity": [name for name in ALL_MAPS if any(name in model.maps(request, layer) for layer in layers)],
            "layers": list(layers),
            "target_tokens": list(targets),
        },
        "architecture": boundaries["architecture"],
        "boundaries": {**boundaries["nodes"], **boundaries},
        "receipt": receipt_of(request, model),
    }


def receipt_of(request: JobRequest, model: LoadedModel) -> dict[str, Any]:
    """What the numbers of an answer to a request depend on."""
    return {
        "request": request.digest,
        "model": model.card.name,
        "revision": model.revision,
        "files": model.files,
        "checkpoint_dtype": model.checkpoint_dtype,
        "dequantised": model.dequantised,
        "tokenizer": type(model.tokenizer).__name__,
        "dtype": request.dtype,
        "device": model.device.type,
        "versions": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """The versions that numbers may depend on."""
    return {
        "lig-service": version("lig-service"),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
