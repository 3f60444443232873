"""Tokens aligned by an edit script, against the textbook's recursion."""

import random
from functools import cache
from itertools import pairwise

import pytest

from lig_core.result.alignment import align


def longest(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    @cache
    def length(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return 0
        return length(i - 1, j - 1) + 1 if a[i - 1] == b[j - 1] else max(length(i - 1, j), length(i, j - 1))

    return length(len(a), len(b))


@pytest.mark.parametrize("letters", ["a", "ab", "abcdefgh"])
def test_as_many_tokens_as_there_can_be_correspond_in_order(letters: str) -> None:
    drawn = random.Random(letters)
    for _ in range(200):
        a, b = (tuple(drawn.choices(letters, k=drawn.randint(0, 12))) for _ in range(2))
        pairs = align(a, b)
        assert len(pairs) == longest(a, b)
        assert all(a[i] == b[j] for i, j in pairs)
        assert all(i < k and j < m for (i, j), (k, m) in pairwise(pairs))
