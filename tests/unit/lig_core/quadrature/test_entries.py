"""Columns whose sum is right while their entries are not: certified only where the entries are.

In a column [x + f, x − f, a line] f never shows in the sum, which is a line. Real ones follow, judged by a reference
that has nothing of the adaptive rule.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmarks.judgement import WRONG, errors_of, rows
from benchmarks.population import Subject, altered, tiny
from benchmarks.reference import Reference
from benchmarks.truth import integrated
from lig_core.contract import parse_request
from lig_core.method import quadrature_for, stream
from lig_core.quadrature import Adaptive, refinement
from lig_core.quadrature.integrand import Start
from tests.unit.lig_core.quadrature.test_adaptive import Known, Term, left_layer, power, wave

HIDDEN = 0.02


def opposed(f: Term) -> list[Term]:
    """[x + f, x − f, a line]."""
    up, down = (
        Term(lambda a, s=sign: a / 2 + s * f.value(a), lambda a, s=sign: 0.5 + s * f.slope(a)) for sign in (1, -1)
    )
    return [up, down, power(1.0)]


def switch(at: float, width: float, size: float) -> Term:
    """A step of some width, 0 at a = 0."""
    start = math.tanh(-at / width)
    return Term(
        lambda a: size * (((a - at) / width).tanh() - start) / 2,
        lambda a: size / (2 * width) / ((a - at) / width).cosh() ** 2,
    )


def error(found: Any, exact: Tensor) -> float:
    return float((found.values - exact).abs().sum() / exact.abs().sum())


CASES: dict[str, tuple[Term, Start, dict[str, Any]]] = {
    "a layer that parts tell of, shared": (left_layer(1e-3, HIDDEN), "shared", {"widths": 1e-3}),
    "a layer that parts tell of, grouped": (left_layer(1e-3, HIDDEN), "grouped", {"widths": 1e-3}),
    "a thinner one": (left_layer(1e-5, HIDDEN), "grouped", {"widths": 1e-5}),
    "a switch between the nodes": (switch(0.4, 0.004, 0.1), "measured", {"witnessed": True}),
    "a wider one": (switch(0.365, 0.02, 0.1), "measured", {"witnessed": True}),
    "a switch in a block that nothing is known of": (switch(0.365, 0.02, 0.1), "measured", {"opaque": True}),
    "waves": (wave(0.03, 3.0), "measured", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_opposite_events_that_no_sum_shows_are_seen(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    f, start, known = CASES[case]
    found = Adaptive().integrate(Known([opposed(f)], start, **known))
    exact = Known([opposed(f)]).exact
    assert found.status == ("ok",)
    assert error(found, exact) <= WRONG / 3
    monkeypatch.setattr(refinement, "entry_rtol", lambda rtol: math.inf)  # by the sums alone
    blind = Adaptive().integrate(Known([opposed(f)], start))
    assert blind.status == ("ok",)
    assert error(blind, exact) > WRONG / 3


def test_attention_that_turns_away_and_back_between_nodes_is_seen() -> None:
    """One source brings what another takes away: everything else is as it was, before and after."""
    drawn = random.Random(5)
    blind = []
    for _ in range(8):
        at, length = drawn.uniform(0.02, 0.9), drawn.uniform(0.02, 0.08)
        column = [power(1.0), switch(at, 3e-4, 0.5), switch(at + length, 3e-4, -0.5)]
        exact = Known([column]).exact
        found = Adaptive().integrate(Known([column], switches=1e-3))
        assert found.converged.all()
        assert error(found, exact) <= WRONG / 3
        unseen = Adaptive().integrate(Known([column]))
        blind.append(bool(unseen.converged.all()) and error(unseen, exact) > WRONG)
    assert sum(blind) >= 2


@pytest.mark.parametrize("start", ["shared", "measured"])
def test_switches_that_only_two_opposite_entries_show_are_seen(start: Start) -> None:
    """Neither L nor a witness shows them, as where the slopes of key and query are opposite."""
    drawn = random.Random(7)
    blind = []
    for _ in range(12):
        column = opposed(switch(drawn.uniform(0.1, 0.9), drawn.uniform(0.02, 0.04), 0.3))
        exact = Known([column]).exact
        assert error(Adaptive().integrate(Known([column], start, switches=1e-3)), exact) <= WRONG / 3
        unseen = Adaptive().integrate(Known([column], start))
        blind.append(bool(unseen.converged.all()) and error(unseen, exact) > WRONG)
    assert sum(blind) >= 2


@pytest.mark.parametrize("start", ["shared", "grouped", "measured"])
def test_tokens_that_go_to_other_experts_and_back_between_nodes_are_seen(start: Start) -> None:
    """L jumps and jumps back, and in between the rates are others: no sum tells, and none is certified."""
    drawn = random.Random(6)
    blind = []
    for _ in range(8):
        at = drawn.uniform(0.05, 0.9)
        away = elsewhere(at, at + drawn.uniform(0.02, 0.04), 0.05, drawn.uniform(1, 2))
        column = [power(1.0), away, Term(lambda a: -0.2 * a, lambda a, of=away: -0.2 - of.slope(a))]
        assert not Adaptive().integrate(Known([column], start, kinked=True, routed=True)).converged.any()
        blind.append(bool(Adaptive().integrate(Known([column], start, kinked=True)).converged.all()))
    assert sum(blind) >= 2


def elsewhere(low: float, high: float, jump: float, rate: float) -> Term:
    """What another expert makes of a source, from one place of the path to another."""

    def there(a: Tensor) -> Tensor:
        return ((a > low) & (a < high)).to(a)

    return Term(lambda a: jump * there(a), lambda a: rate * there(a))


def corners(seed: int) -> Term:
    """What a layer of ReLUs makes: it bends at many places, up or down."""
    drawn = random.Random(seed)
    bends = [(drawn.uniform(0, 1), drawn.gauss(0, 0.02)) for _ in range(100)]
    return Term(
        lambda a: sum((size * (a - at).clamp_min(0) for at, size in bends), torch.zeros_like(a)),
        lambda a: sum((size * (a > at).to(a) for at, size in bends), torch.zeros_like(a)),
    )


def test_where_rates_jump_rules_are_trusted_no_further_than_they_agree() -> None:
    errors: dict[bool, list[float]] = {True: [], False: []}
    for kinked, missed in errors.items():
        for seed in range(60):
            column = opposed(corners(seed))
            found = Adaptive().integrate(Known([column], kinked=kinked))
            if found.converged[0]:
                missed.append(error(found, Known([column]).exact))
    assert max(errors[True]) <= WRONG < max(errors[False]) / 2
    assert len(errors[True]) >= 40


def sharper(factor: float) -> Callable[[nn.Module], None]:
    """Logits times the square of a factor."""

    def change(model: nn.Module) -> None:
        for layer in model.encoder.layer:  # type: ignore[union-attr]
            for linear in (layer.attention.self.query, layer.attention.self.key):
                linear.weight.mul_(factor)

    return change


def with_norms(epsilon: float) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        for module in model.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = epsilon

    return change


def certified(subject: Subject, layer: int, asked: dict[str, Any], text: str) -> tuple[int, list[float]]:
    """Columns, and the errors of the certified ones."""
    request = parse_request({"text": text, "model": "any", "layers": [layer], **asked})
    with subject.single.computing():
        encoded = subject.single.encode([text])
        (calls,) = subject.single.capture(encoded.inputs)
        count = encoded.inputs["input_ids"].shape[1]
        request = request.model_copy(update={"target_tokens": list(range(0, count, 2))})
        found = rows(integrated(subject.single, layer, calls[layer], request, quadrature_for(request)))
    with subject.double.computing():
        truth = rows(integrated(subject.double, layer, subject.in_double(layer, calls[layer]), request, Reference()))
    judged = zip(found, truth, errors_of(found, truth), strict=True)
    return len(found), [missed for row, right, missed in judged if row.converged and right.converged]


MAPS = {
    "layer, zero": {"granularity": "layer", "baseline_layer": "zero"},
    "layer": {"granularity": "layer"},
    "att, zero": {"granularity": "att", "baseline_att": "zero"},
    "att": {"granularity": "att"},
    "mlp, zero": {"granularity": "mlp", "baseline_mlp": "zero"},
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(
    ("family", "change"),
    [("bert", sharper(30)), ("bert", sharper(50)), ("llama", with_norms(1e-12))],
    ids=["bert, q and k ×30", "bert, q and k ×50", "llama, ε 1e-12"],
)
def test_what_is_certified_of_sharp_models_is_right(
    family: str, change: Callable[[nn.Module], None], name: str
) -> None:
    base = tiny(random.Random(3), family)
    subject = altered(base, "sharper", change, [1])
    columns, errors = certified(subject, 1, MAPS[name], "the quick cat sat on the mat and the dogs ran over it")
    assert max(errors) <= WRONG
    assert len(errors) >= columns / 3


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
def test_what_is_certified_of_a_text_of_one_token_repeated_is_right(family: str) -> None:
    # Nothing moves between equal tokens but rounding, and a composition passes its shares on.
    subject = tiny(random.Random(3), family)
    _, errors = certified(subject, 1, {"granularity": "composed"}, "the the the the the the")
    assert max(errors, default=0.0) <= WRONG


def test_a_target_that_sees_itself_alone_is_composed_with_certainty() -> None:
    subject = tiny(random.Random(3), "llama")
    request = parse_request({"text": "the quick cat sat", "model": "any", "granularity": "composed", "layers": [1]})
    _, layers = stream(request, subject.single)
    arrays = next(layers).arrays
    assert arrays["composed.converged"][0]
    assert np.isfinite(arrays["composed.conserving"][:, 0]).all()
