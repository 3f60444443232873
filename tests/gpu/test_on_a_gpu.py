"""The core on a CUDA device; skipped where there is none."""

from __future__ import annotations

import pytest
import torch

from lig_core.contract import ExplainRequest
from lig_core.engines.chunking import Budget
from lig_core.loading.loaded import load_model
from lig_core.maps.integrators import SplitBlockIntegrator
from lig_core.method import run
from lig_core.models.catalog import find_model
from lig_core.quadrature import GaussLegendre
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
