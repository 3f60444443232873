"""Results made up without a model: every map, random numbers, a status of each kind, some NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from lig_core.result.arrays import AXES, MAPS, STATUSES, LayerArrays, Result

TOKENS = ("[CLS]", "cat", "##s", "sat", "[SEP]")
DIMENSIONS, MODEL_HEADS = 6, 4


def made_head(*, tokens: int | None = None, **changes: Any) -> dict[str, Any]:
    """The head of a result of TOKENS, or of so many others."""
    config = {
        "granularity": ["att", "mlp", "layer", "composed"],
        "baseline_att": "self_input_token",
        "baseline_mlp": "zero",
        "baseline_layer": "self_input_token",
        "u_node": "heads",
        "rtol": 1e-3,
        "num_steps": None,
        "dtype": "float32",
    }
    head = {
        "text": "cats sat 🐈",
        "tokens": list(TOKENS),
        "token_labels": ["[CLS]", "cat", "s", "sat", "[SEP]"],
        "offsets": [[0, 0], [0, 3], [3, 4], [5, 8], [0, 0]],
        "words": [0, 1, 1, 2, 3],
        "model": "made-up",
        "config": config | changes,
        "receipt": {"revision": None},
    }
    if tokens is not None:
        names = [f"token{number}" for number in range(tokens)]
        head |= {"tokens": names, "token_labels": names, "offsets": None, "words": list(range(tokens))}
    return head


def made_layer(
    index: int = 0,
    *,
    seed: int = 0,
    dtype: str = "float32",
    targets: tuple[int, ...] = (0, 1, 2, 3, 4),
    heads: tuple[int, ...] = (0, 1, 3),
    labels: bool = False,
    sources: int = len(TOKENS),
    dimensions: int = DIMENSIONS,
) -> LayerArrays:
    random = np.random.default_rng([seed, index])
    sizes = {
        "source": sources,
        "target": len(targets),
        "head": len(heads),
        "any head": max(MODEL_HEADS, len(heads)),
        "dimension": dimensions,
        "end": 2,
    }
    arrays = {}
    for name, axes in AXES.items():
        if "rank" in axes:
            continue
        shape, part = tuple(sizes[axis] for axis in axes), name.rpartition(".")[2]
        if name in MAPS:
            arrays[name] = random.normal(size=shape).astype(dtype)
        elif part in ("converged", "in_float64"):
            arrays[name] = np.ones(shape, bool)
        elif part == "status":
            arrays[name] = random.integers(len(STATUSES), size=shape).astype(np.uint8)
        elif part == "nodes":
            arrays[name] = random.integers(1, 500, size=shape)
        else:
            arrays[name] = random.uniform(0.1, 2.0, size=shape)
    arrays["visible"] = np.array([[0] * len(targets), targets], np.int64)  # none sees what comes after it
    arrays |= {"targets": np.array(targets, np.int64), "att.heads": np.array(heads, np.int64)}
    arrays["composed.product.pearson"][0] = np.nan
    arrays["z2z"][1, 0] = np.nan
    return LayerArrays(index, arrays, "adaptive_gauss_patterson", {"z2z": "dense", "att": "factored/closed"}, labels)


def made_result(*, indices: tuple[int, ...] = (0, 2), dtype: str = "float32", **about: Any) -> Result:
    return Result.of(made_head(dtype=dtype), [made_layer(index, dtype=dtype, **about) for index in indices])
