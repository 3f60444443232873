"""The authors' files, one a sentence and map: written so that their scripts read them, and compared by their rules.

    layer/<layer key>/<sentence>.json      tokens, tokens_without_special, words, words_with_special, relns, heads,
                                           z2z [layer][source][target], _metadata
    composed/<composed key>/<sentence>.json   tokens, z2z, _metadata.composed_from

Their comparison sets entry [i][j] of one file beside [i][j] of the other, over the shorter of the two lists of tokens:
where the lists differ, so do the tokens that are compared. It is kept, for their tables to be reproduced; ours compares
the same tokens on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from lig_core.errors import InvalidRequest
from lig_core.experiment.corpora import Sentence
from lig_core.experiment.outputs.tables import Row, Theirs
from lig_core.experiment.pairs import LAYER, PAIRS
from lig_core.result.arrays import Array


class Maps:
    """The maps of one sentence, gathered layer by layer, then written."""

    def __init__(self, folder: Path, sentence: Sentence) -> None:
        self._folder, self._sentence = folder, sentence
        self._maps: dict[tuple[str, str], list[Array]] = {}

    def add(self, part: str, name: str, layer: int, values: Array) -> None:
        """One map [source, target] of one layer; layers come in order."""
        key = LAYER[name][1] if part == "layer" else name  # type: ignore[index]
        self._maps.setdefault((part, key), []).append(values)

    def write(self, about: Mapping[str, Any], *, nodes: str) -> None:
        """Write all of them, each file whole or not at all."""
        sentence, tokens = self._sentence, list(about["tokens"])
        words = list(sentence.words or sentence.text.split())
        for (part, key), layers in self._maps.items():
            document: dict[str, Any] = {"tokens": tokens, "z2z": np.ascontiguousarray(np.stack(layers))}
            if part == "layer":
                document |= {
                    "tokens_without_special": tokens,
                    "words": words,
                    "words_with_special": words,
                    "relns": list(sentence.relations or ()),
                    "heads": list(sentence.heads or ()),
                    "_metadata": {
                        "z2z_computation_method": "layer-wise integrated gradients",
                        "z2z_baseline_method": key,
                        "ig_num_steps": nodes,
                        "has_cls_sep_tokens": True,
                    },
                }
            else:
                document["_metadata"] = {"composed_from": key}
            path = self._folder / part / key / f"{sentence.number}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part")
            unfinished.write_bytes(orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY))
            unfinished.replace(path)


def read_z2z(path: Path) -> Array:
    """z2z [layer, source, target] of one of their files; raises InvalidRequest where it has none."""
    try:
        values = np.array(orjson.loads(path.read_bytes())["z2z"], np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidRequest(f"'{path}' is no file of maps as the authors write them: {error}") from None
    if values.ndim != 3 or values.shape[1] != values.shape[2]:
        raise InvalidRequest(f"'{path}': z2z is [layer][source][target]; got shape {values.shape}")
    return values


def summary_of(folder: Path, *, split: str) -> list[Row]:
    """The authors' summary of a folder of their files: of the pairs both of whose parts are in it."""
    rows: list[Row] = []
    for pair in PAIRS:
        layers, composed = folder / "layer" / pair.layer_key, folder / "composed" / pair.composed_key
        numbers = sorted(int(file.stem) for file in layers.glob("*.json") if (composed / file.name).exists())
        if not numbers:
            continue
        table = Theirs([pair])
        for number in numbers:
            whole, other = (read_z2z(where / f"{number}.json") for where in (layers, composed))
            table.add(*(one[..., None] for one in by_index(whole, other)))
        rows += table.summary(split=split, start=numbers[0], end=numbers[-1] + 1)
    if not rows:
        raise InvalidRequest(f"'{folder}' has no layer/<key>/<n>.json beside a composed/<key>/<n>.json")
    return rows


def by_index(whole: Array, other: Array) -> tuple[Array, Array, Array, Array]:
    """Their comparison: distance, Pearson, close, still [layer, target], over the shorter of the two lists."""
    count = min(whole.shape[1], other.shape[1])
    a, b = (values[: min(len(whole), len(other)), :count, :count] for values in (whole, other))
    centred = [values - values.mean(1, keepdims=True) for values in (a, b)]
    norms = np.linalg.norm(centred[0], axis=1) * np.linalg.norm(centred[1], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        pearson = (centred[0] * centred[1]).sum(1) / norms
    return np.linalg.norm(a - b, axis=1), pearson, np.asarray(np.isclose(a, b).all(1)), (a == 0).all(1)
