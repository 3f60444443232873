"""Texts in one sequence have the numbers that each has alone, of every family: `make batches SEED=n`, three minutes."""

from __future__ import annotations

import pytest

from tests.models import tiny_families  # noqa: F401 - adds its rows to FAMILIES
from tests.models.batches import assert_as_alone
from tests.models.tiny_models import FAMILIES


@pytest.mark.parametrize("name", FAMILIES)
def test_a_batch_is_its_texts_alone(name: str, request: pytest.FixtureRequest) -> None:
    assert_as_alone(name, request.config.getoption("--texts"), drawn=2)
