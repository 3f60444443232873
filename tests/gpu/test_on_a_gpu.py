"""The core on a CUDA device; skipped where there is none."""

from __future__ import annotations

import random
from copy import deepcopy
from typing import Any

import pytest
import torch

from benchmarks.gpu import waits
from benchmarks.population import ordinary
from lig_core.contract import ExplainRequest
from lig_core.engines.chunking import Budget
from lig_core.loading.loaded import LoadedModel, load_model
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.method import explain_layer, quadrature_for, run, stream
from lig_core.models.catalog import find_model
from lig_core.quadrature import GaussLegendre
from lig_core.result.arrays import MAPS, Array
from tests.models.tiny_models import FAMILIES, built, loaded, tiny_tokenizer
from tests.support.closeness import assert_close

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
REQUEST = ExplainRequest(text="The cat sat on the mat.", model="minilm", num_steps=12)


def test_a_gpu_gives_the_numbers_of_the_cpu() -> None:
    here, there = (run(REQUEST, load_model(find_model("minilm"), device=device)) for device in ("cpu", "cuda"))
    for index, layer in here["layers"].items():
        expected, found = layer["z2z"]["matrix"], there["layers"][index]["z2z"]["matrix"]
        assert_close(found, expected, 1e-4)


def test_a_gpu_meets_the_tolerance_of_every_map() -> None:
    request = REQUEST.model_copy(update={"num_steps": None})
    assert run(request, load_model(find_model("minilm"), device="cuda"))["converged"]


def test_the_receipt_names_the_gpu() -> None:
    assert run(REQUEST, load_model(find_model("minilm"), device="cuda"))["receipt"]["device"] == "cuda"


def test_tensor_float_32_is_off() -> None:
    load_model(find_model("minilm"), device="cuda")
    assert not torch.backends.cuda.matmul.allow_tf32


def test_running_out_of_memory_halves_the_chunk_and_goes_on() -> None:
    model = load_model(find_model("minilm"), device="cuda")
    with model.computing():
        encoded = model.encode([REQUEST.text])
        (calls,) = model.capture(encoded.inputs)
        targets = torch.arange(len(encoded.tokens[0]), device=model.device)
        small, large = Budget(), Budget(size=2**45)
        values = []
        for budget in (small, large):
            integrator = model.integrator(0, calls[0], targets, GaussLegendre(4))
            assert isinstance(integrator, SplitBlockIntegrator)
            integrator.budget = budget
            torch.cuda.set_per_process_memory_fraction(0.02 if budget is large else 1.0)
            try:
                values.append(integrator.layer("zero").attribution.values)
            finally:
                torch.cuda.set_per_process_memory_fraction(1.0)
    assert_close(*values, 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_numbers_of_the_cpu(family: str) -> None:
    here = loaded(family)
    there = LoadedModel.of(here.card, deepcopy(built(family, "lig", torch.float64)).cuda(), tiny_tokenizer())
    assert [facts.note for facts in there.facts] == [facts.note for facts in here.facts]
    request = ExplainRequest(text="the quick brown fox sat on w40", model=family, num_steps=4, labels=False)
    expected, found = (matrices(request, model) for model in (here, there))
    assert found.keys() == expected.keys() != set()
    for place, values in expected.items():
        assert_close(found[place], values, 1e-9)


def matrices(request: ExplainRequest, model: LoadedModel) -> dict[tuple[int, str], Array]:
    """All maps of a result by layer and name, without certificates: these are differences of rounding."""
    layers = stream(request, model)[1]
    return {(layer.index, name): layer[name] for layer in layers for name in MAPS if name in layer}


def test_certificates_and_nodes_are_those_of_the_cpu() -> None:
    drawn = random.Random(7)
    here, there = (load_model(find_model("minilm"), device=device) for device in ("cpu", "cuda"))
    columns = others = 0
    for _ in range(8):
        request = REQUEST.model_copy(update={"text": ordinary(drawn, 12), "num_steps": None, "granularity": "all"})
        for mine, theirs in zip(certificates(here, request), certificates(there, request), strict=True):
            assert mine.status == theirs.status
            columns += len(mine.nodes)
            others += int((mine.nodes != theirs.nodes).sum())
    assert others <= 0.01 * columns


def certificates(model: LoadedModel, request: ExplainRequest) -> list[Any]:
    """The attributions of all layers and maps."""
    with model.computing():
        encoded = model.encode([request.text or ""])
        (calls,) = model.capture(encoded.inputs)
        targets = torch.arange(len(encoded.tokens[0]))
        found = []
        for layer in range(model.num_layers):
            integrator = model.integrator(layer, calls[layer], targets, quadrature_for(request))
            maps = explain_layer(integrator, request)
            found += [each.attribution for each in (maps.layer, maps.att, maps.mlp) if each is not None]
    return found


@pytest.mark.parametrize(("granularity", "most"), {"layer": 60, "all": 200}.items())
def test_the_host_waits_for_a_round_and_not_for_a_chunk(granularity: str, most: int) -> None:
    model = load_model(find_model("minilm"), device="cuda")
    request = REQUEST.model_copy(update={"num_steps": None, "granularity": granularity, "labels": False})
    run(request, model)
    with waits() as lines:
        run(request, model)
    assert lines.total() <= most * model.num_layers, lines.most_common(20)
