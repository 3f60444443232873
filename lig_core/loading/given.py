"""Models that a caller holds: loaded once and explained often, or built by transformers and handed over."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.contract import ExplainRequest
from lig_core.errors import InvalidRequest
from lig_core.loading.loaded import DTYPES, LoadedModel, device_of, load_model
from lig_core.loading.weights import require_finite
from lig_core.models.catalog import ModelCard, find_model


def load(
    model: str | PreTrainedModel,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    device: Any = None,
    dtype: str = "float32",
) -> LoadedModel:
    """A model to give `explain()` as `model` as often as wanted: by its name, or one of transformers' with a tokenizer.

    device and dtype are those of `explain()`. Of transformers' own a copy is made, without its head, so that nothing
    of it changes; where the receipt of a result says which files a model was read from, it says null of such a one.
    Raises what loading by name raises, and InvalidRequest where the tokenizer is missing.
    """
    if isinstance(model, str):
        if tokenizer is not None:
            raise InvalidRequest("a model by name brings its own tokenizer; leave `tokenizer` out")
        return load_model(find_model(model), device=device, dtype=dtype)
    if not isinstance(model, PreTrainedModel):
        raise InvalidRequest(f"a model is a name or a transformers model; got {type(model).__name__}")
    if tokenizer is None:
        raise InvalidRequest("a model without a name brings no tokenizer; give its own, too: load(model, tokenizer=…)")
    place = device_of(device)
    if place is None:
        raise InvalidRequest("device 'auto' spreads a model while it is read; load it by its name")
    register()
    torch.set_float32_matmul_precision("highest")
    base: Any = model.base_model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    copy = deepcopy(base).to(device=place, dtype=DTYPES[dtype])
    copy.config._attn_implementation = IMPLEMENTATION  # classes with a closed list go back to eager when inspected
    card = ModelCard(_name(model), "", None, json.loads(model.config.to_json_string(use_diff=False)))
    require_finite(card, copy)
    return LoadedModel.of(card, copy, tokenizer)


def asked_of(request: ExplainRequest, model: LoadedModel, device: Any) -> ExplainRequest:
    """The request in the precision that the loaded model has; raises InvalidRequest where it asks for more, or a move.

    A model in float64 answers in float64 what is asked in float32.
    """
    own = next(name for name, dtype in DTYPES.items() if dtype == model.dtype)
    if request.dtype == "float64" and own != "float64":
        raise InvalidRequest("the model was loaded in float32; load it with dtype='float64'")
    if device is not None and device_of(device) != model.device:
        raise InvalidRequest(f"the model was loaded on '{model.device}'; load it with device='{device}'")
    return request.model_copy(update={"model": model.card.name, "dtype": own})


def _name(model: nn.Module) -> str:
    """A name for results: where it was read from, if that is known, else its class's."""
    read_from = getattr(model, "name_or_path", "")
    return str(read_from) or type(model).__name__
