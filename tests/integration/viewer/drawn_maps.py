"""Results made up for the viewer, and the colour that every cell of a map must have."""

from dataclasses import replace

import numpy as np

from lig_core.result.arrays import CERTIFICATE, LayerArrays, Result
from tests.support.made_results import made_head

STEPS = 128
NAN = float("nan")


def certificate(name, shape):
    parts = {
        f"{name}.total": np.full(shape, 2.0),
        f"{name}.completeness_error": np.full(shape, 1e-5),
        f"{name}.entry_error": np.full(shape, 1e-4),
        f"{name}.nodes": np.full(shape, 7),
        f"{name}.converged": np.ones(shape, bool),
        f"{name}.status": np.zeros(shape, np.uint8),
    }
    return {f"{name}.{part}": parts[f"{name}.{part}"] for part in CERTIFICATE}


def drawn_result(count, *, layers=2, causal=False, heads=0, seed=0, tokens=None, **config):
    """So many tokens; by default ITB maps, in which own terms are 0 by definition."""
    random, made = np.random.default_rng(seed), []
    for index in range(layers):
        values = random.normal(size=(count, count)).astype(np.float32)
        np.fill_diagonal(values, 0)
        arrays = {"targets": np.arange(count), "z2z": values, **certificate("z2z", count)}
        if causal:
            arrays["visible"] = np.array([np.zeros(count, np.int64), np.arange(count)])
            values[np.tril_indices(count, -1)] = 0
        if heads:
            arrays |= {
                "att": random.normal(size=(heads, count, count)).astype(np.float32),
                "att.heads": np.arange(heads),
            }
            arrays |= certificate("att", (heads, count))
        made.append(LayerArrays(index, arrays, "made", {"z2z": "made", "att": "made"}))
    names = tokens or [f"token{k}" for k in range(count)]
    head = made_head(tokens=count, layers=list(range(layers)), target_tokens=list(range(count)), **config)
    head |= {"tokens": names, "token_labels": names, "text": " ".join(names)}
    return Result.of(head, made)


def changed(result, layer, **arrays):
    """The result with other tensors in one layer."""
    layers = [replace(one, arrays={**one.arrays, **arrays}) if one.index == layer else one for one in result]
    return Result.of(result.head, layers)


def theme(page):
    names = ("zero", "pos", "pos-end", "neg", "neg-end", "masked")
    found = page.evaluate(
        "(names) => names.map((n) => getComputedStyle(document.documentElement).getPropertyValue(`--${n}`).trim())",
        list(names),
    )
    return {
        name: np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)], float)
        for name, colour in zip(names, found, strict=True)
    }


def expected_colours(values, end, colours):
    """Linear from zero over the middle to the end, on either side, in steps: [row, target, rgb]."""
    values = values.astype(np.float64)  # as the page computes: in float32 a value may fall to the next step
    t = np.floor(STEPS * np.minimum(1, np.abs(values) / end) + 0.5)[..., None] / STEPS
    parts = []
    for side in ("pos", "neg"):
        low = colours["zero"] + (colours[side] - colours["zero"]) * 2 * t
        high = colours[side] + (colours[f"{side}-end"] - colours[side]) * (2 * t - 1)
        parts.append(np.where(t < 0.5, low, high))
    return np.floor(np.where(values[..., None] < 0, parts[1], parts[0]) + 0.5)


def drawn_colours(page, rows, columns):
    """The colour a third of the way into every cell, as it lies on the canvas: [row, target, rgba]."""
    found = page.evaluate(
        """([rows, columns]) => {
          const c = document.getElementById("cells"), d = c.dataset, cell = Number(d.cell), at = Math.floor(cell * 0.3);
          const { data, width } = c.getContext("2d").getImageData(0, 0, c.width, c.height), all = [];
          for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) {
            const x = Number(d.left) - Number(d.x) + j * cell + at, y = Number(d.top) - Number(d.y) + i * cell + at;
            const k = 4 * (y * width + x);
            all.push(x < width && y < c.height ? data.slice(k, k + 4) : [0, 0, 0, 0]);
          }
          return all.flatMap((p) => [...p]);
        }""",
        [rows, columns],
    )
    return np.array(found, float).reshape(rows, columns, 4)
