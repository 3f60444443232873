"""Checks of a checkpoint before it is loaded, by its config and its files' names. Imports no torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lig_core.errors import UnsupportedModel
from lig_core.models.architectures import made_with, types
from lig_core.models.bundled.packages import bundled_quantisation
from lig_core.models.catalog import ModelCard, local_file

OTHER_FORMATS = ("*.bin", "*.pt", "*.pth", "*.ckpt*", "*.h5", "*.gguf", "*.onnx", "*.msgpack", "*.tflite")
NO_WEIGHTS = ("training_args.bin", "optimizer.*", "scheduler.*", "rng_state*.pth", "scaler.pt")
"""Files that trainers leave beside weights under the same endings."""
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
DEQUANTISED = frozenset({"mxfp4"})
"""Methods whose numbers transformers writes out exactly, with nothing else installed: each is 4 bits times a power of
two. They are computed with like any others."""
OLD_FLAGS = {"load_in_8bit": "bitsandbytes", "load_in_4bit": "bitsandbytes"}
MOST_LAYERS = 1000
"""Far beyond any model: a config with more is not built to find out."""
ABSOLUTE = (None, "absolute")


def require_loadable(card: ModelCard) -> None:
    """Refuse what the config or the files' names show cannot be loaded as it is; raises UnsupportedModel.

    Whatever is said of a model that is not here (no config) is for the loader to say.
    """
    config = card.config
    if not config:
        return
    for refused in (_type_refused, _quantisation_refused, _positions_refused, _layers_refused):
        detail = refused(config)
        if detail is not None:
            raise UnsupportedModel(f"model '{card.name}' {detail}")
    detail = _files_refused(card)
    if detail is not None:
        raise UnsupportedModel(f"model '{card.name}' {detail}")


def quantisation(config: Mapping[str, Any]) -> str | None:
    """The method by which the weights are quantised, as the config names it; None: they are not."""
    for part in _parts(config):
        for key in ("quantization_config", "compression_config"):
            entry = part.get(key)
            if not isinstance(entry, Mapping) or not entry:
                continue
            method = entry.get("quant_method") or next((OLD_FLAGS[flag] for flag in OLD_FLAGS if entry.get(flag)), None)
            return str(method or "a method that its config does not name")
    return None


def dequantised(card: ModelCard) -> str | None:
    """The method by which a model's numbers were quantised before they were written out in full; None: they were not.

    Those of a bundled model that is converted are written out then; those of others, when they are loaded.
    """
    return bundled_quantisation(card.name) if card.is_bundled else quantisation(card.config)


def _parts(config: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield config
    yield from (part for part in config.values() if isinstance(part, Mapping))


def _type_refused(config: Mapping[str, Any]) -> str | None:
    model_type = config.get("model_type")
    if isinstance(model_type, str) and (model_type in types() or _installed(model_type)):
        return None
    if config.get("auto_map"):
        return (
            "comes with code of its own (auto_map in its config.json), and code of a repository is never run here; "
            "use a model whose model_type transformers has, or a version of this one converted to it"
        )
    if model_type is None:
        return "has no model_type in its config.json; save it again: model.save_pretrained()"
    return (
        f"is of the type {model_type!r}, which transformers {made_with()} does not have; check model_type in its "
        "config.json, or install a transformers that has it"
    )


def _installed(model_type: str) -> bool:
    """True if the transformers installed here has a type that the table does not: it may be newer."""
    name = model_type.replace("-", "_")
    spec = importlib.util.find_spec("transformers") if name.isidentifier() else None
    places = (spec.submodule_search_locations or ()) if spec is not None else ()
    return any((Path(place) / "models" / name / f"configuration_{name}.py").is_file() for place in places)


def _quantisation_refused(config: Mapping[str, Any]) -> str | None:
    method = quantisation(config)
    if method is None or method in DEQUANTISED:
        return None
    return (
        f"is quantised ({method}): its files do not hold the numbers that its blocks compute with; use the original "
        "in bfloat16, float16 or float32, or dequantise this one, save it with model.save_pretrained() and take "
        "quantization_config out of its config.json"
    )


def _positions_refused(config: Mapping[str, Any]) -> str | None:
    kind = config.get("position_embedding_type")  # may be anything, a list too
    row = types().get(str(config.get("model_type")), {})
    if kind in ABSOLUTE or row.get("position_embedding_type"):
        return None
    return (
        f"has position_embedding_type {kind!r} in its config.json, which transformers no longer computes for "
        f"{config.get('model_type')}: its weights of relative positions (distance_embedding) would have no place, and "
        "without them it would be another model; use one with absolute positions"
    )


def _layers_refused(config: Mapping[str, Any]) -> str | None:
    for part in _parts(config):
        for key, value in part.items():
            if key.endswith(("layer", "layers")) and isinstance(value, int) and value > MOST_LAYERS:
                return f"has {key} {value:,} in its config.json, more than any model; correct it"
    return None


def _files_refused(card: ModelCard) -> str | None:
    """Adapters beside the weights, or weights in other formats alone."""
    adapter = next((name for name in ADAPTERS if local_file(card, name) is not None), None)
    if adapter is not None:
        return (
            f"has an adapter beside its weights ({adapter}), which would be left out; merge it and save the whole: "
            "PeftModel.from_pretrained(model, folder).merge_and_unload().save_pretrained(); or take it out of the "
            "folder where the weights are meant without"
        )
    folder = card.folder
    if folder is None or not folder.is_dir() or any(folder.glob("*.safetensors*")):
        return None
    others = sorted(
        file.name
        for pattern in OTHER_FORMATS
        for file in folder.glob(pattern)
        if not any(file.match(left) for left in NO_WEIGHTS)
    )
    if not others:
        return None
    return (
        f"has its weights as {others[0]} and not as safetensors; save them so: "
        "model.save_pretrained(folder), after loading them where they come from a source that you trust"
    )
