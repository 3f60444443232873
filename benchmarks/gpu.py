"""One GPU: milliseconds, launches and waits of a text, alone and with fifteen others. Writes benchmarks/gpu.json, .md.

python -m benchmarks.gpu; needs a CUDA device. Models have the shapes of BERT-base and of a Llama of a billion weights,
all of them drawn, and the texts are drawn words. A wait is an operation for which the host stands still until the
device is done, as torch's own warnings count them; with --waits they are listed, by the line that waits.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModel, BertConfig, LlamaConfig, PreTrainedConfig

from lig_core.batch import run_batch
from lig_core.blocks.attention import IMPLEMENTATION, register
from lig_core.contract import ExplainRequest
from lig_core.loading.loaded import LoadedModel
from lig_core.method import run
from lig_core.models.catalog import ModelCard
from tests.models.tiny_models import VOCABULARY, WORDS, tiny_tokenizer

HERE = Path(__file__).parent
SHAPES: dict[str, PreTrainedConfig] = {
    "bert-base": BertConfig(vocab_size=VOCABULARY),
    "llama-1b": LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=2048,
    ),
}
TOKENS = (12, 41, 128, 512)
TOGETHER = 16
MOST_TOGETHER = 128
"""Longer texts share no sequence."""
MOST_COUNTED = 41
"""Waits and launches are counted of texts up to here; they are about the same for longer ones."""
REPEATS = 3
OURS = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--waits", action="store_true", help="list the lines that wait, of one text of 12 tokens")
    parser.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    parser.add_argument("--tokens", nargs="*", type=int, default=list(TOKENS))
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: no CUDA device here")
    rows = []
    for shape in asked.shapes:
        model = drawn_model(shape)
        if asked.waits:
            list_waits(model)
            continue
        for tokens in asked.tokens:
            for granularity in ("layer", "all"):
                for texts in (1, TOGETHER) if tokens <= MOST_TOGETHER else (1,):
                    rows.append({"shape": shape, **measured(model, tokens, granularity, texts)})
                    print(json.dumps(rows[-1]), flush=True)
                    write(rows)
        del model


def drawn_model(shape: str) -> LoadedModel:
    """A model of that shape on the GPU, its weights drawn, norms and biases too."""
    register()
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(0)
    config = SHAPES[shape]
    with torch.device("cuda"):
        model: Any = AutoModel.from_config(config, attn_implementation=IMPLEMENTATION)
        _noise(model)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = config.max_position_embeddings
    return LoadedModel.of(ModelCard(shape, shape, None, config.to_dict()), model, tokenizer)


def _noise(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))


def measured(model: LoadedModel, tokens: int, granularity: str, texts: int) -> dict[str, Any]:
    """A text's share of what some texts of so many tokens take."""
    drawn = random.Random(tokens)
    known = [*WORDS.split(), *(f"w{k}" for k in range(30, VOCABULARY))]
    requests = [
        ExplainRequest(
            text=" ".join(drawn.choice(known) for _ in range(tokens)),
            model=model.card.name,
            granularity=granularity,
            labels=False,
        )
        for _ in range(texts)
    ]

    def work() -> list[dict[str, Any]]:
        return [run(requests[0], model)] if texts == 1 else run_batch(requests, model)

    torch.cuda.reset_peak_memory_stats()
    results = work()  # and what is made once
    peak = torch.cuda.max_memory_allocated()
    seconds = min(timed(work) for _ in range(REPEATS if texts == 1 else 1))
    counted = tokens <= MOST_COUNTED
    lines: Counter[str] = Counter()
    if counted:
        with waits() as lines:
            work()
    return {
        "tokens": tokens,
        "granularity": granularity,
        "texts": texts,
        "milliseconds": round(1e3 * seconds / texts, 2),
        "waits": round(lines.total() / texts, 1) if counted else None,
        "launches": round(launches(work) / texts) if counted else None,
        "peak_mib": round(peak / 2**20),
        "converged": sum(result["converged"] for result in results),
    }


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def waits() -> Iterator[Counter[str]]:
    """Counts the operations that wait for the device, by the line of ours that calls them."""
    lines: Counter[str] = Counter()

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        if "synchronizing" not in str(message):
            return
        ours = [frame for frame in traceback.extract_stack() if f"{OURS}/lig_core" in frame.filename]
        lines[f"{Path(ours[-1].filename).relative_to(OURS)}:{ours[-1].lineno} {ours[-1].line}" if ours else "?"] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield lines
        finally:
            torch.cuda.set_sync_debug_mode("default")


def launches(work: Callable[[], object]) -> int:
    """Kernels that are launched."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        work()
        torch.cuda.synchronize()
    return sum(event.device_type.name == "CUDA" for event in profile.events())


def list_waits(model: LoadedModel) -> None:
    """Print the lines that wait, of a text of 12 tokens, all maps of one layer."""
    request = ExplainRequest(
        text=" ".join(WORDS.split()[:12]), model=model.card.name, layers=[1], granularity="all", labels=False
    )
    run(request, model)
    with waits() as lines:
        run(request, model)
    print(f"{model.card.name}: {lines.total()} waits of a layer")
    for line, count in lines.most_common():
        print(f"{count:5} {line}")


def write(rows: list[dict[str, Any]]) -> None:
    """What is known so far."""
    report = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "rows": rows}
    (HERE / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    (HERE / "gpu.md").write_text(table(report))


HEAD = """# On one {device}

torch {torch}; written by `python -m benchmarks.gpu`. All layers of a text, adaptive, float32 without TF32; a text's
share of what the texts that are explained together take. A wait is an operation for which the host stands still;
launches are kernels.

| shape | tokens | maps | texts | ms a text | waits | launches | peak MiB | converged |
|---|---|---|---|---|---|---|---|---|
"""


def table(report: dict[str, Any]) -> str:
    """As Markdown."""
    return HEAD.format(**report) + "".join(map(_line, report["rows"]))


def _line(row: dict[str, Any]) -> str:
    cells = (
        *(row[name] for name in ("shape", "tokens", "granularity", "texts")),
        f"{row['milliseconds']:,.1f}",
        *("–" if row[name] is None else f"{row[name]:,.0f}" for name in ("waits", "launches")),
        f"{row['peak_mib']:,}",
        f"{row['converged']} of {row['texts']}",
    )
    return f"| {' | '.join(map(str, cells))} |\n"


if __name__ == "__main__":
    main()
