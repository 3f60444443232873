"""Columns that are made of last digits: integrated in float64, at the same z, or else said to be uncertain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.population import Subject
from lig_core import explain
from lig_core.blocks import precision
from lig_core.blocks.capture import BlockCall
from lig_core.blocks.precision import working_precision
from lig_core.engines.chunking import ChunkedIntegrand
from lig_core.maps import integrators
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.quadrature import Adaptive, Attribution
from lig_core.quadrature.rounding import SUSPECT, blurred, replaced, spoilt
from lig_core.result.plain.text import plain, to_json
from lig_core.result.read import from_document
from lig_core.result_schema import ExplainResult
from tests.models.tiny_models import IDS, loaded
from tests.support.closeness import assert_close

TARGETS = torch.tensor([1, 3, 5])
MASSIVE = 3e5
"""What one dimension of every token holds: the last digit of float32 there is 0.03."""
LAYER = 1


def massive(subject: Subject, ids: tuple[int, ...] = IDS) -> tuple[BlockCall, BlockCall]:
    """A layer's call at hidden states with a massive dimension, in float32 and with the same numbers in float64."""
    (calls,) = subject.single.capture({"input_ids": torch.tensor([ids])})
    z = calls[LAYER].z.clone()
    z[..., 3] += MASSIVE
    call = replace(calls[LAYER], z=z)
    with torch.no_grad():
        call = replace(call, out=call.replay(z, subject.single.facts[LAYER].tiling))
    with working_precision(torch.float64):
        return call, subject.in_double(LAYER, call)


def all_maps(maps: Any) -> dict[str, Attribution]:
    found = {"layer": maps.layer("self_input_token").attribution}
    if isinstance(maps, SplitBlockIntegrator):
        found["mlp from heads"] = maps.mlp_from_heads("att_itb_a0").attribution
        if maps.block.wiring.residual is not None:
            found["mlp"] = maps.mlp_from_residual("att_itb_a0").attribution
    return found


def found_and_true(name: str, ids: tuple[int, ...] = IDS) -> list[tuple[str, Attribution, Tensor]]:
    subject = Subject.of(name, loaded(name, torch.float32))
    single, double = massive(subject, ids)
    mine = all_maps(subject.single.integrator(LAYER, single, TARGETS, Adaptive()))
    with working_precision(torch.float64):
        true = all_maps(subject.double.integrator(LAYER, double, TARGETS, Adaptive(rtol=1e-7)))
    return [(map, mine[map], true[map].values) for map in mine]


def errors(found: Attribution, true: Tensor) -> Tensor:
    return (found.values - true).abs().sum(-1) / true.abs().sum(-1)


@pytest.mark.parametrize("name", ["llama", "gemma2", "mixtral", "gpt2", "qwen3", "falcon", "mamba"])
def test_what_rounding_would_spoil_is_right(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for map, found, true in found_and_true(name):
        assert errors(found, true).max() <= 3e-3, map
        assert found.converged.all(), map
    monkeypatch.setattr(integrators, "spoilt", lambda found, *_: np.zeros(len(found.status), np.bool_))
    assert max(float(errors(found, true).max()) for _, found, true in found_and_true(name)) > 1e-2


def test_texts_in_one_sequence_are_right_too() -> None:
    subject = Subject.of("llama", loaded("llama", torch.float32))
    model, texts = subject.single, ["the quick brown fox", "lazy dogs twice and nobody", "a cat"]
    encoded = model.encode(texts)
    (packed,) = [model.capture_packed(encoded)[LAYER]]
    z = packed.z.clone()
    z[..., 3] += MASSIVE
    targets = [torch.arange(len(text.tokens)) for text in encoded.texts]
    packed = replace(packed, z=z)
    with torch.no_grad():
        out = [
            model.capture(model.encode([text]).inputs)[0][LAYER].replay(z[:, span], model.facts[LAYER].tiling)
            for text, span in zip(texts, packed.spans, strict=True)
        ]
    packed = replace(packed, out=torch.cat(out, 1))
    together = model.packed_integrators(LAYER, packed, targets, Adaptive())
    for text, span, own, integrator in zip(texts, packed.spans, targets, together, strict=True):
        call = model.capture(model.encode([text]).inputs)[0][LAYER]
        call = replace(call, z=z[:, span], out=packed.out[:, span])
        alone = model.integrator(LAYER, call, own, Adaptive()).layer("self_input_token").attribution
        found = integrator.layer("self_input_token").attribution
        assert found.status == alone.status
        assert_close(found.values, alone.values, 1e-6)
    assert found.converged.all()


def test_what_cannot_be_copied_is_not_certified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "MOST_BYTES", 0)
    for map, found, true in found_and_true("llama"):
        wrong = errors(found, true) > 3e-3
        assert wrong.any(), map
        assert not found.converged[wrong].any(), map
        assert {status for status, off in zip(found.status, wrong.tolist(), strict=True) if off} == {"noise_limited"}


def made(count: int, **changes: Any) -> Attribution:
    found = Attribution(
        values=torch.arange(2.0 * count).reshape(count, 2).double(),
        total=torch.ones(count).double(),
        largest_total=torch.ones(count).double(),
        completeness_error=torch.zeros(count).double(),
        entry_error=torch.full((count,), 1e-4).double(),
        nodes=torch.full((count,), 7),
        converged=torch.ones(count, dtype=torch.bool),
        status=("ok",) * count,
    )
    return replace(found, **changes)


def test_what_matters_to_no_tolerance_is_left_alone() -> None:
    status = ("ok", "ok", "zero_path", "zero_path", "noise_limited", "noise_limited")
    found = made(6, status=status, converged=torch.tensor([True] * 5 + [False]))
    rounding = np.array([1e-9, 1.0, 1.0, 1.0, 1.0, 1.0])
    still = np.array([False, True, True, False, False, False])
    assert spoilt(found, rounding, 1e-3, still).tolist() == [False, True, False, True, False, True]
    assert spoilt(found, rounding, 1e-3, None).tolist() == [False, True, True, True, False, True]
    assert not spoilt(found, np.full(6, 0.99 * SUSPECT * 1e-3), 1e-3, None).any()


def test_a_doubted_column_hides_beside_those_of_its_own_text_alone() -> None:
    total = torch.tensor([1e-9, 1.0]).double()
    found = made(2, values=torch.zeros(2, 2).double(), total=total, largest_total=torch.ones(2).double())
    columns, rounding = np.array([True, False]), np.array([0.5, 0.0])
    assert blurred(found, columns, rounding, 1e-3).converged.tolist() == [True, True]
    beside = replace(found, largest_total=total)
    assert blurred(beside, columns, rounding, 1e-3).converged.tolist() == [False, True]


def test_columns_take_the_place_of_others() -> None:
    columns = np.array([False, True, False, True])
    other = made(2, values=-torch.ones(2, 2).double(), status=("ok", "zero_path"), nodes=torch.tensor([1, 2]))
    found = replaced(made(4), columns, other)
    assert found.values.tolist() == [[0, 1], [-1, -1], [4, 5], [-1, -1]]
    assert found.nodes.tolist() == [7, 8, 7, 9]
    assert found.status == ("ok", "ok", "ok", "zero_path")
    assert found.in_float64 is not None
    assert found.in_float64.tolist() == columns.tolist()
    assert found.select(torch.tensor([True, True, False, False])).in_float64.tolist() == [False, True]
    for one, both in ((made(4), found), (found, made(4))):
        joined = one.joined(both, one.values, torch.zeros(4), 1.0)
        assert joined.in_float64.tolist() == columns.tolist()
    assert made(4).joined(made(4), found.values, torch.zeros(4), 1.0).in_float64 is None


def test_a_result_says_which_columns_were_integrated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("llama", torch.float32)
    again = {"z2z": [1], "att": [0, 2], "mlp": [2]}  # by column: of att targets' heads, heads varying fastest

    def chosen(found: Attribution, rounding: Any, rtol: float, still: Any) -> Any:
        count = len(found.status)
        name = "att" if count > 4 else "z2z" if found.values.shape[1] == 3 else "mlp"
        return np.isin(np.arange(count), again[name])

    options: dict[str, Any] = {"model": model, "layers": [1], "granularity": ["layer", "att", "mlp"], "num_steps": 2}
    before = explain("the quick fox", **options, on_unconverged="ignore")
    assert not [name for name in next(from_document(before)[1]).arrays if name.endswith("in_float64")]
    assert b"in_float64" not in to_json(before)
    monkeypatch.setattr(integrators, "spoilt", chosen)
    result = explain("the quick fox", **options, on_unconverged="ignore")
    layer, tokens = result["layers"]["1"], len(result["tokens"])
    marked = {
        "z2z": [j for j, one in enumerate(layer["z2z"]["certificate"]["in_float64"]) if one],
        "mlp": [j for j in range(tokens) if layer["targets"][str(j)]["u2z"]["in_float64"]],
    }
    heads = layer["targets"]["0"]["z2u"]["heads"]
    assert {**marked, "att": [h for h, head in enumerate(heads.values()) if head["in_float64"]]} == again
    (back,) = from_document(plain(result))[1]
    (arrays,) = from_document(explain("the quick fox", **options, on_unconverged="ignore"))[1]
    for name in ("z2z", "att", "mlp"):
        assert back[f"{name}.in_float64"].tolist() == arrays[f"{name}.in_float64"].tolist()
    ExplainResult.model_validate_json(to_json(result))


def test_what_rounding_may_make_is_in_the_certificate() -> None:
    columns = np.array([True, True, False])
    rounding = np.array([1e-3, 50.0, 1.0])
    found = blurred(made(3), columns, rounding, 1e-3)
    assert_close(found.entry_error, torch.tensor([1.1e-3, 50.0, 1e-4]).double(), 1e-2)
    assert found.converged.tolist() == [True, False, True]
    assert found.status == ("ok", "noise_limited", "ok")
    fixed = made(3, entry_error=torch.full((3,), torch.nan).double(), status=("fixed",) * 3)
    assert blurred(fixed, columns, rounding, 1e-3).converged.tolist() == [True, False, True]


def test_what_rounding_may_make_of_a_column_matters_no_more_than_it_is_beside_the_largest() -> None:
    total, columns = torch.tensor([1e-9, 1.0, 1.0]).double(), np.array([True, True, False])
    values = total[:, None] * torch.tensor([[0.25, 0.75]]).double()
    found = blurred(made(3, total=total, values=values), columns, np.array([50.0, 50.0, 0.0]), 1e-3)
    assert found.status == ("noise_limited", "noise_limited", "ok")
    assert found.converged.tolist() == [True, False, True]
    assert found.entry_error[:2].tolist() == [1.0, pytest.approx(50.0001)]


def test_what_not_even_float64_tells_is_not_called_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of a text of one word repeated, judged as if float64 had a billion times its rounding."""
    rounding = ChunkedIntegrand.rounding

    def coarse(integrand: ChunkedIntegrand, total: Any, magnified: float) -> Any:
        return rounding(integrand, total, magnified) * (1e9 if integrand.dtype == torch.float64 else 1.0)

    plain = [found for _, found, _ in found_and_true("llama")]
    monkeypatch.setattr(ChunkedIntegrand, "rounding", coarse)
    again = [found for _, found, _ in found_and_true("llama")]
    changed = 0
    for before, after in zip(plain, again, strict=True):
        assert torch.equal(before.values, after.values)
        others = [k for k, (x, y) in enumerate(zip(before.status, after.status, strict=True)) if x != y]
        assert {after.status[k] for k in others} <= {"noise_limited"}
        changed += len(others)
    assert changed > 0
