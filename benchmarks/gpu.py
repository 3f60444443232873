"""BERT-base's shape on one GPU: 512 tokens, 12 layers, every map, adaptive. Writes benchmarks/gpu.json.

python -m benchmarks.gpu; needs a CUDA device.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

from benchmarks.cases import TEXT
from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.blocks.block import Block, WholeBlock
from lig_core.blocks.capture import capture_blocks
from lig_core.contract import ExplainRequest
from lig_core.loading.inspection import LayerFacts, inspect_layer
from lig_core.maps.integrators import Integrator, SplitBlockIntegrator, WholeBlockIntegrator
from lig_core.method import explain_layer, quadrature_for

TOKENS = 512
REPEATS = 3


def main() -> None:
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: no CUDA device here")
    register()
    torch.manual_seed(0)
    model = BertModel(BertConfig(attn_implementation=IMPLEMENTATION)).cuda().eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(1000, 30000, (1, TOKENS), generator=generator).cuda()
    (calls,) = capture_blocks(model, {"input_ids": ids})
    facts = [inspect_layer(call) for call in calls]
    seconds = {}
    for granularity in ("layer", "att", "mlp", "all"):
        request = ExplainRequest(text=TEXT, granularity=granularity)
        seconds[granularity] = min(measure(calls, facts, request) for _ in range(REPEATS))
    report = {
        "device": torch.cuda.get_device_name(),
        "tokens": TOKENS,
        "layers": len(calls),
        "seconds": seconds,
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20,
    }
    Path(__file__).with_name("gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def measure(calls: list, facts: list[LayerFacts], request: ExplainRequest) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    for call, fact in zip(calls, facts, strict=True):
        explain_layer(integrator(call, fact, request), request)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def integrator(call, fact: LayerFacts, request: ExplainRequest) -> Integrator:
    targets = torch.arange(TOKENS, device="cuda")
    quadrature = quadrature_for(request)
    if fact.wiring is None:
        return WholeBlockIntegrator(WholeBlock.verified(call, fact.tiling), fact.note, targets, quadrature)
    return SplitBlockIntegrator(Block.open(call, fact.wiring), fact.laws, targets, quadrature)


if __name__ == "__main__":
    main()
