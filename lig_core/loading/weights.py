"""Checks that a loaded model is the one that its files describe: every weight in its place, and finite."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, PreTrainedConfig

from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard
from lig_core.models.checkpoint import quantisation
from lig_core.models.weight_files import NOT_WEIGHTS, numbers, weight_files

MOST_TIMES_THE_FILES = 8
"""A model may have more numbers than its files: tied weights are stored once, 4-bit ones packed, and of an
encoder-decoder the encoder alone may have been saved."""
ALWAYS_ALLOWED = 2**24


def outline(config: PreTrainedConfig) -> nn.Module:
    """The model that a config describes, without memory for its weights."""
    with torch.device("meta"):
        return AutoModel.from_config(config)


def require_proportion(card: ModelCard, described: nn.Module) -> None:
    """Refuse an outline of a far larger model than the files hold, before memory is taken for it."""
    held = sum(map(numbers, weight_files(card)))
    count = sum(x.numel() for tensors in (described.parameters(), described.buffers()) for x in tensors)
    if held and count > MOST_TIMES_THE_FILES * held + ALWAYS_ALLOWED:  # files that are not here are still to come
        raise UnsupportedModel(
            f"the config.json of '{card.name}' describes a model of {count:,} numbers, and its files hold {held:,}; "
            "correct the sizes in its config.json, or copy the missing files"
        )


def require_weights(card: ModelCard, described: nn.Module, model: Any, report: Mapping[str, Collection[Any]]) -> None:
    """Refuse a model that is not the checkpoint's; `report` is transformers' on what it loaded.

    Weights that the model lacks would be random numbers, and those that it has no place for would be left out. Heads
    and poolers do not matter, for they come after the blocks. What the outline has frozen is what the model makes
    itself, such as Marian's sinusoidal positions. Raises UnsupportedModel.
    """
    needed = {name for name, parameter in described.named_parameters() if parameter.requires_grad}
    _refuse_lacking(card, [key for key in report["missing_keys"] if key in needed and not _of_no_matter(model, key)])
    _refuse_mismatched(card, report["mismatched_keys"])
    _refuse_left_over(card, model, report["unexpected_keys"])


def require_finite(card: ModelCard, model: nn.Module) -> None:
    """Refuse weights that are infinite or no numbers; raises UnsupportedModel that names the first."""
    for name, parameter in model.named_parameters():
        # A sum is finite where all are, and takes no memory; where it overflows, a closer look tells.
        if not parameter.is_meta and not parameter.sum().isfinite() and not parameter.isfinite().all():
            count = int((~parameter.isfinite()).sum())
            raise UnsupportedModel(
                f"the weights of '{card.name}' are not finite: {name} has {count} of {parameter.numel()} that are "
                "infinite or no numbers; save or download them again"
            )


def _refuse_lacking(card: ModelCard, lacking: Collection[str]) -> None:
    if lacking:
        raise UnsupportedModel(
            f"the checkpoint of '{card.name}' lacks {len(lacking)} weights of its model, such as {min(lacking)}; "
            "they would be random numbers; save or download the whole, or correct its config.json"
        )


def _refuse_mismatched(card: ModelCard, mismatched: Collection[Any]) -> None:
    if mismatched:
        name, stored, wanted = min(mismatched, key=lambda entry: str(entry[0]))
        raise UnsupportedModel(
            f"the weights of '{card.name}' do not fit its config: {name} has the shape {list(stored)} in its files and "
            f"{list(wanted)} by its config.json; correct the config.json, or save the model again"
        )


def _refuse_left_over(card: ModelCard, model: Any, unexpected: Iterable[str]) -> None:
    """Weights outside the model proper are a head's: its parts are embeddings, blocks, and what norms the last."""
    prefix = f"{model.base_model_prefix}." if model.base_model_prefix else ""
    parts = {name for name, _ in model.named_children()} | {name for name, _ in model.named_parameters(recurse=False)}
    buffers = {name for name, _ in model.named_buffers()}
    over = sorted(
        key
        for key in (key.removeprefix(prefix) for key in unexpected)
        if key.partition(".")[0] in parts
        and key not in buffers
        and not _of_no_matter(model, key)
        and NOT_WEIGHTS.search(key) is None
    )
    if over:
        method = quantisation(card.config)
        raise UnsupportedModel(
            f"the checkpoint of '{card.name}' has {len(over)} weights that {type(model).__name__} has no place for, "
            f"such as {over[0]}{f' (quantised: {method})' if method else ''}; without them it would be another model: "
            "merge adapters into the weights, correct the config.json, or use a checkpoint of this architecture"
        )


def _of_no_matter(model: Any, key: str) -> bool:
    """A pooler comes after the blocks; of an encoder-decoder the encoder is explained."""
    return "pooler" in key or (model.config.is_encoder_decoder and key.startswith("decoder."))
