"""Reading what belongs to a model, with transformers, so that whatever goes wrong is said in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import transformers
from transformers import AutoConfig, PreTrainedConfig

from lig_core.engines.chunking import out_of_memory
from lig_core.errors import LigError, ModelNotFound, OutOfMemory, UnsupportedModel
from lig_core.loading.inspection import first_line
from lig_core.models.catalog import ModelCard, local_file

HOW_OTHERS_RUN_IT = frozenset(
    {
        *("_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal"),
        *("attn_implementation", "_experts_implementation", "experts_implementation", "fusion_config"),
        *("distributed_config", "chunk_size_feed_forward", "gradient_checkpointing", "torchscript", "use_bfloat16"),
        *("dtype", "torch_dtype", "output_attentions", "output_hidden_states", "output_router_logits", "return_dict"),
        *("use_cache", "num_labels", "id2label", "label2id", "problem_type", "auto_map"),
        *("architectures", "transformers_version", "_name_or_path"),
    }
)
"""Keys of a config that change no number of the blocks: how others run the model, what they ask it for, its head."""


@contextmanager
def reading(card: ModelCard, part: str, remedy: str) -> Iterator[None]:
    """Whatever is raised on the way is an error that says what could not be read, why, and what to do.

    ModelNotFound where there is nothing of the model here, OutOfMemory where memory ran out, else UnsupportedModel.
    """
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity(transformers.utils.logging.CRITICAL)  # what matters of it is raised here
    try:
        yield
    except LigError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or out_of_memory(error):
            raise OutOfMemory(
                f"model '{card.name}' does not fit in memory; ask for a smaller one, or use a larger device"
            ) from error
        if isinstance(error, OSError | ValueError) and local_file(card, "config.json") is None:
            raise ModelNotFound(
                f"model '{card.name}' could not be loaded: {first_line(error)}; check the name (and, for a Hugging "
                "Face id, the network), or use 'minilm', which needs none"
            ) from error
        raise UnsupportedModel(
            f"the {part} of model '{card.name}' could not be read ({first_line(error)}); {remedy}"
        ) from error
    finally:
        transformers.utils.logging.set_verbosity(verbosity)


def read_config(card: ModelCard, where: Mapping[str, Any]) -> dict[str, Any]:
    """A model's config as it is written, from its folder, the local cache or the hub."""
    with reading(card, "config.json", "save it again: model.save_pretrained()"):
        config, _ = PreTrainedConfig.get_config_dict(card.source, **where)
        return config


def make_config(written: Mapping[str, Any]) -> PreTrainedConfig:
    """transformers' config object, without what concerns only how others run the model.

    Quantised weights are to be written out in full: `lig_core.models.checkpoint.DEQUANTISED`.
    """
    kept = _kept(written)
    quantised = kept.pop("quantization_config", None)  # transformers 5.4 stumbles over null
    if quantised:
        kept["quantization_config"] = {**quantised, "dequantize": True}
    with TemporaryDirectory() as folder:  # so that transformers reads it as it reads any
        Path(folder, "config.json").write_text(json.dumps(kept), encoding="utf-8")
        return AutoConfig.from_pretrained(folder)


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _kept(value) if isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in HOW_OTHERS_RUN_IT
    }
