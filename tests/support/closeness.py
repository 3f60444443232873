"""Comparing numbers that were computed in two ways: how far they are apart beside the largest of them.

Another processor, another number of threads or another shape of a batch rounds otherwise, and what is left of a
difference of large numbers is rounding alone. So an entry is never held against itself: all entries are held against
the largest one. What is read twice, not computed twice, is compared with `==`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from lig_core.result.arrays import MAPS
from lig_core.result.read import from_document

used: dict[str, float] = {}
"""By test, the largest share of its room that a comparison used."""


def relative(actual: Any, expected: Any, scale: Any = None) -> float:
    """max|actual − expected| / max|scale|, `scale` being `expected` unless it is given.

    0 where both are all 0; NaN stands for itself alone.
    """
    return _compare(actual, expected, scale)[0]


def assert_close(actual: Any, expected: Any, rtol: float, *, scale: Any = None) -> None:
    """max|actual − expected| ≤ rtol · max|expected|, for tensors, arrays, numbers and lists, None counting as NaN.

    `scale` stands in for `expected` where that is a sum or a difference in which larger numbers cancel: it names those.
    """
    __tracebackhide__ = True
    apart, where = _compare(actual, expected, scale)
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
    used[test] = max(used.get(test, 0.0), apart / rtol)
    if not apart <= rtol:
        raise AssertionError(
            f"{apart:.2g} apart, relative to the largest entry; allowed: {rtol:.2g} ({apart / rtol:.3g} times as much "
            f"as there is room for); worst {where}"
        )


def assert_close_maps(actual: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    """Two documents hold the same layers with the same maps: each map's entries beside its own largest."""
    __tracebackhide__ = True
    for found, other in zip(from_document(actual)[1], from_document(expected)[1], strict=True):
        assert found.index == other.index
        assert found.arrays.keys() == other.arrays.keys()
        for name in MAPS:
            if name in found.arrays:
                assert_close(found[name], other[name], rtol)


def _compare(actual: Any, expected: Any, scale: Any) -> tuple[float, str]:
    """The largest difference relative to the scale, and where it is."""
    __tracebackhide__ = True
    found, right = _numbers(actual), _numbers(expected)
    assert found.shape == right.shape, f"shapes {found.shape} and {right.shape}"
    with np.errstate(invalid="ignore"):  # ∞ − ∞
        apart = np.where((found == right) | (np.isnan(found) & np.isnan(right)), 0.0, np.abs(found - right))
    if not apart.any():
        return 0.0, "anywhere"
    apart = np.where(np.isnan(apart), np.inf, apart)
    at = np.unravel_index(apart.argmax(), apart.shape)
    sizes = np.abs(right if scale is None else _numbers(scale))
    largest = float(sizes[np.isfinite(sizes)].max(initial=0.0))
    place = f"at {tuple(map(int, at))}" if at else "and only"
    told = f"{place}: {float(found[at])!r} where {float(right[at])!r} is right; the largest entry is {largest:.6g}"
    return (float(apart[at]) / largest if largest else np.inf), told


def _numbers(values: Any) -> np.ndarray:
    """In float64."""
    if hasattr(values, "detach"):  # a tensor
        values = values.detach().cpu().numpy()
    return np.array(values, dtype=np.float64)
