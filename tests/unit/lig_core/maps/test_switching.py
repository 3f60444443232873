"""Attention that switches between sources along a path, where neither L nor the witness shows what two sources get."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.population import real, sharpened
from lig_core.blocks.block import WholeBlock
from lig_core.maps.integrators import WholeBlockIntegrator
from lig_core.quadrature import Adaptive, planning
from tests.models.tiny_models import IDS, loaded

TEXT = "A bridge of Cairo was famous, but in 1839 the ancient theory explained their strange protein in Austin!"
TARGETS = torch.tensor([0, 5, 8, 13, 15, 19, 20, 21])
LAYER, WRONG = 4, 1e-2


def test_a_switch_that_gives_to_one_source_what_another_loses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drawn column of trained weights: certified, and off by 3.1 % of itself, where paths are begun whole."""
    subject = sharpened(real("minilm"), {1: 27.45, LAYER: 41.83})
    (calls,) = subject.single.capture(subject.single.encode([TEXT]).inputs)
    with subject.double.computing():
        exact = subject.double.integrator(
            LAYER, subject.in_double(LAYER, calls[LAYER]), TARGETS, Adaptive(rtol=1e-6, max_nodes=20_000)
        ).layer("zero")

    def errors() -> Tensor:
        with subject.single.computing():
            found = subject.single.integrator(LAYER, calls[LAYER], TARGETS, Adaptive()).layer("zero").attribution
        assert found.converged.all()
        truth = exact.attribution.values
        return (found.values - truth).abs().sum(-1) / truth.abs().sum(-1)

    assert exact.attribution.converged.all()
    assert errors().max() <= WRONG / 3
    monkeypatch.setattr(planning, "SWITCHING", 1)
    assert errors().max() > WRONG


@pytest.mark.parametrize("baseline", ["zero", "self_input_token"])
def test_a_block_whose_parts_do_not_agree_with_the_whole_is_begun_in_pieces(baseline: str) -> None:
    model = loaded("bert")
    (calls,) = model.capture({"input_ids": torch.tensor([IDS])})
    whole = WholeBlock.verified(calls[1], model.facts[1].tiling)

    def nodes(*, disputed: bool) -> Tensor:
        integrator = WholeBlockIntegrator(whole, "", torch.tensor([1, 3]), Adaptive(), disputed=disputed)
        with model.computing():
            return integrator.layer(baseline).attribution.nodes  # type: ignore[arg-type]

    assert nodes(disputed=False).max() < planning.SWITCHING * 15 <= nodes(disputed=True).min()
