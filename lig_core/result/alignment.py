"""Two lists of tokens aligned by an edit script: a longest common subsequence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def align(a: Sequence[str], b: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (i, j), both ascending, of equal tokens a[i] = b[j], as many as there can be.

    Where several choices are as long, that one whose tokens stand closest to the ends.

        L[i, j] = L[i−1, j−1] + 1 where a[i] = b[j], else max(L[i−1, j], L[i, j−1])
    """
    names = {token: number for number, token in enumerate(dict.fromkeys([*a, *b]))}
    left, right = (np.array([names[token] for token in side], np.int64) for side in (a, b))
    # A row ascends by 0 or 1 from place to place, so these steps are all that has to be kept of it.
    row, steps = np.zeros(len(right) + 1, np.int32), []
    for token in left:
        found = np.maximum(row[1:], row[:-1] + (right == token))
        row = np.concatenate([[0], np.maximum.accumulate(found)])
        steps.append(np.packbits(np.diff(row).astype(bool)))
    pairs: list[tuple[int, int]] = []
    j = len(right)
    for i in range(len(left) - 1, -1, -1):
        if j == 0:
            break
        here = np.unpackbits(steps[i], count=len(right))
        above = np.unpackbits(steps[i - 1], count=len(right)) if i else np.zeros(len(right), np.uint8)
        while j and not here[j - 1]:
            j -= 1
        if j and here[:j].sum() > above[:j].sum():
            pairs.append((i, j - 1))
            j -= 1
    return pairs[::-1]
