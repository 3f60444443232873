"""The files that a model's weights are read from, by their names and headers. Imports no torch and reads no weights."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

from lig_core.errors import UnsupportedModel
from lig_core.models.catalog import ModelCard, local_file
from lig_core.models.checkpoint import quantisation

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
NOT_WEIGHTS = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)$")
"""Tensors that older transformers saved beside weights: positions, frequencies and causal masks, made anew."""
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Dtypes of safetensors' headers, as torch names them."""
PACKED = "U8"
"""The dtype of 4-bit numbers, of which two share a byte."""


def weight_files(card: ModelCard) -> list[Path]:
    """The files that loading reads, as far as they are here: one, or those that an index names.

    Others beside them, such as a second copy of the weights under another name, are none of the model's. Raises
    UnsupportedModel for an index that is damaged.
    """
    single = local_file(card, WEIGHTS)
    if single is not None:
        return [single]
    return [file for name in _shards(card) if (file := local_file(card, name)) is not None]


def require_whole_files(card: ModelCard) -> None:
    """Refuse a folder that lacks weight files, or whose files are cut off; raises UnsupportedModel that names one."""
    if card.folder is None or not card.folder.is_dir():
        return
    names = [WEIGHTS] if local_file(card, WEIGHTS) is not None else _shards(card)
    if not names:
        raise UnsupportedModel(
            f"model '{card.name}' has no weights: neither {WEIGHTS} nor {INDEX} is in its folder; save them there: "
            "model.save_pretrained()"
        )
    missing = [name for name in names if local_file(card, name) is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise UnsupportedModel(
            f"model '{card.name}' lacks {missing[0]}{more}, which its {INDEX} names; copy or download the missing files"
        )
    for file in weight_files(card):
        try:
            _require_floats(card, file)
        except SafetensorError as error:
            raise UnsupportedModel(
                f"the weights of '{card.name}' are damaged ({file.name}: {error}); save or download them again"
            ) from error


def _require_floats(card: ModelCard, file: Path) -> None:
    """Refuse weights that are integers: what they stand for is known to whoever quantised them."""
    if quantisation(card.config) is not None:
        return
    with safe_open(file, framework="numpy") as opened:
        for name in opened.keys():  # noqa: SIM118 (it is no dict)
            tensor = opened.get_slice(name)
            if tensor.get_dtype()[0] in "IU" and tensor.get_shape() and NOT_WEIGHTS.search(name) is None:
                raise UnsupportedModel(
                    f"the weights of '{card.name}' are no floating-point numbers: {name} is stored as "
                    f"{tensor.get_dtype()}; use the original, or dequantise it and save it with model.save_pretrained()"
                )


def numbers(file: Path) -> int:
    """The number of numbers in a safetensors file, by its header; raises SafetensorError where it has no sound one."""
    with safe_open(file, framework="numpy") as opened:
        tensors = [opened.get_slice(name) for name in opened.keys()]  # noqa: SIM118 (it is no dict)
        return sum(math.prod(tensor.get_shape()) * (2 if tensor.get_dtype() == PACKED else 1) for tensor in tensors)


def checkpoint_dtype(files: Sequence[Path]) -> str | None:
    """The dtypes that the files store, most numbers first, such as `bfloat16, float32`; None without files."""
    counts: Counter[str] = Counter()
    for file in files:
        with safe_open(file, framework="numpy") as opened:
            for name in opened.keys():  # noqa: SIM118 (it is no dict)
                tensor = opened.get_slice(name)
                dtype = tensor.get_dtype()
                counts[DTYPE_NAMES.get(dtype, dtype)] += math.prod(tensor.get_shape())
    return ", ".join(name for name, _ in counts.most_common()) or None


def _shards(card: ModelCard) -> list[str]:
    """The files that the index names; none without an index."""
    index = local_file(card, INDEX)
    if index is None:
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        sound = bool(names) and all(PurePosixPath(name).name == name for name in names)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise UnsupportedModel(
            f"the {INDEX} of model '{card.name}' is damaged; save or download the model again: model.save_pretrained()"
        )
    return names
