"""Each source's direct share of a fixed vector's product with the head outputs: ∫ q̇ da = Δq, on every path."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from lig_core.blocks.precision import working_precision
from lig_core.engines.path import Path
from lig_core.engines.target_paths import ReplayedTargetPath, target_path
from lig_core.engines.zero_paths import TangentPath, zero_path
from tests.models.tiny_models import ALL_FAMILIES, IDS, Opened, opened
from tests.support.closeness import relative

NAMES = [family.name for family in ALL_FAMILIES]
ROWS = torch.arange(len(IDS))
POINTS = (0.02, 0.4, 0.93)
STEP = 1e-4


@pytest.fixture(autouse=True)
def _in_float64() -> Iterator[None]:
    with working_precision(torch.float64):
        yield


def paths(found: Opened) -> list[Path]:
    heads = torch.arange(found.block.num_heads)
    general = [] if found.block.attention.pairwise else [TangentPath, ReplayedTargetPath]
    return [
        zero_path(found.block, found.laws, heads),
        target_path(found.block, found.laws, heads),
        *(path(found.block, heads) for path in general),
    ]


def fixed_vector(path: Path) -> Tensor:
    """Some c̃, [1, heads, targets, head_dim]."""
    like = path.at(torch.ones(1, dtype=torch.float64)).attend(ROWS).heads_out
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(3), dtype=like.dtype)


def shares(path: Path, a: float, c: Tensor) -> Tensor:
    return path.at(torch.tensor([a], dtype=torch.float64)).attend(ROWS).shares(c)[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_rate_of_a_share_is_its_derivative(name: str) -> None:
    for found in opened(name):
        for path in paths(found):
            c = fixed_vector(path)
            rates = path.at(torch.tensor(POINTS, dtype=torch.float64)).attend(ROWS).share_rates(c)
            for rate, a in zip(rates, POINTS, strict=True):
                # the five-point rule: its error is of the order of STEP⁴
                near, far = (shares(path, a + k * STEP, c) - shares(path, a - k * STEP, c) for k in (1, 2))
                assert relative(rate, (8 * near - far) / (12 * STEP)) <= 1e-6, path.law


@pytest.mark.parametrize("name", NAMES)
def test_the_shares_of_all_sources_are_the_head_output(name: str) -> None:
    for found in opened(name):
        for path in paths(found):
            c = fixed_vector(path)
            at = path.at(torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)).attend(ROWS)
            assert relative(at.shares(c).sum(-1), (c * at.heads_out).sum(-1)) <= 1e-12, path.law
