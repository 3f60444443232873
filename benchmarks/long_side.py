"""One side of `benchmarks.whole_calls`: a text of 512 tokens, all maps and layers, in the tree that it is started in.

Prints a JSON line: seconds and seconds of processor of the computing alone, of `explain()`, and of writing what it
returned as JSON; the MiB of its arrays, of the file, and what the process had at most until then.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOKENS = 512


def main(sentence: str) -> None:
    from lig_core import explain
    from lig_core.commands.explain_text import write_result
    from lig_core.contract import ExplainRequest
    from lig_core.loading.kept import kept_model
    from lig_core.method import stream
    from lig_core.models.catalog import find_model

    model = kept_model(find_model("minilm"), "cpu", "float32")
    words = (sentence * 20).split()
    while len(model.tokenizer(" ".join(words))["input_ids"]) > TOKENS:
        words.pop()
    text = " ".join(words)
    found: dict[str, Any] = {"model_gib": peak_gib()}

    def timed(name: str, work: Any) -> Any:
        begun, busy = time.perf_counter(), time.process_time()
        done = work()
        seconds, processor = time.perf_counter() - begun, time.process_time() - busy
        found.update({f"{name}_seconds": seconds, f"{name}_processor": processor, f"{name}_gib": peak_gib()})
        return done

    def compute() -> int:
        return sum(layer.nbytes for layer in stream(ExplainRequest(text=text, model="minilm"), model)[1])

    found["arrays_mib"] = timed("computing", compute) / 2**20
    result = timed("explain", lambda: explain(text, model="minilm", device="cpu"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "result.json"
        timed("writing", lambda: write_result(result, file))
        found["json_mib"] = file.stat().st_size / 2**20
    print(json.dumps(found))


def peak_gib() -> float:
    """What the process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main(sys.argv[1])
