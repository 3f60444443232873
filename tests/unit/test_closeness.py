"""The helper that compares numbers, and the processors that it leaves room for."""

import math

import numpy as np
import pytest
import torch

from lig_core.result.plain.text import plain
from lig_core.result.render import document
from tests.support.closeness import assert_close, assert_close_maps, relative
from tests.support.made_results import made_result
from tests.support.other_rounding import OtherRounding


def test_differences_are_held_against_the_largest_entry():
    assert relative([1e-9, 100.0], [0.0, 100.0]) == pytest.approx(1e-11)
    assert_close(torch.tensor([1e-9, 100.0]), np.array([0.0, 100.0]), 1e-10)
    with pytest.raises(AssertionError):
        assert_close([1e-9, 100.0], [0.0, 100.0], 1e-12)


def test_what_is_wrong_is_said_with_its_place_and_how_much_room_there_was():
    with pytest.raises(AssertionError) as caught:
        assert_close([[1.0, 2.0], [3.0, 4.5]], [[1.0, 2.0], [3.0, 4.0]], 1e-2)
    said = str(caught.value)
    assert "0.12 apart" in said
    assert "12.5 times" in said
    assert "at (1, 1): 4.5 where 4.0 is right; the largest entry is 4" in said


def test_where_large_numbers_cancel_they_are_the_scale():
    with pytest.raises(AssertionError):
        assert_close(1e-14, 0.0, 1e-12)
    assert_close(1e-14, 0.0, 1e-12, scale=[3.0, -3.0])


@pytest.mark.parametrize(
    ("found", "right"), [([math.nan], [1.0]), ([1.0], [None]), ([math.inf], [1.0]), ([1.0], [1.0, 1.0])]
)
def test_nan_infinity_and_another_shape_are_never_close(found, right):
    with pytest.raises(AssertionError):
        assert_close(found, right, 0.5)


def test_nan_is_where_nan_is_and_infinity_where_infinity():
    assert_close([None, math.inf, 1.0], [math.nan, math.inf, 1.0 + 1e-9], 1e-8)


def test_the_maps_of_documents_are_compared_one_by_one():
    one, other = (plain(document(result.head, result)) for result in (made_result(), made_result(seed=1)))
    assert_close_maps(one, one, 1e-12)
    with pytest.raises(AssertionError):
        assert_close_maps(one, other, 1e-3)


def test_another_processor_rounds_otherwise_and_itself_always_alike():
    a, b = torch.rand(2, 20, 20, generator=torch.Generator().manual_seed(0))
    here = a @ b
    with OtherRounding(1):
        there, again = a @ b, a @ b
        some = a[:3] @ b
    assert torch.equal(there, again)
    for other in (here, torch.cat([some, there[3:]])):
        assert not torch.equal(there, other)
        assert_close(there, other, 1e-6)
