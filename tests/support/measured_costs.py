"""What requests cost, measured: CPU seconds of the bundled model on one thread, the least of several runs.

`python -m tests.support.measured_costs` writes measured_costs.json beside this file, for the test of the estimate. With
`--keep` it measures nothing, and writes again how the estimate stands to what was measured: after a new fit.
"""

import itertools
import json
import sys
import time
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")
RUNS = 3
SENTENCE = (
    "Explanations of a model are only as good as the question they answer, and the committee that was asked to judge "
    "the matter argued late into the night about what the measurement could and could not show. "
)
WORDS = (SENTENCE * 20).split()

ZERO = {"baseline_layer": "zero", "baseline_att": "zero", "baseline_mlp": "zero"}
ITB = {"baseline_layer": "self_input_token", "baseline_att": "self_input_token", "baseline_mlp": "att_itb_a0"}
MAPS = (
    {"granularity": "layer"},
    {"granularity": "att"},
    {"granularity": "mlp", "u_node": "residual"},
    {"granularity": "mlp", "u_node": "heads"},
)
FEW = {"target_tokens": [3], "layers": [0, 3]}


SIZES = (
    *((words, {"layers": [1, 4]}) for words in (8, 50, 170)),
    *((50, {"layers": [1, 4], "num_steps": steps}) for steps in (1, 4)),
    *((words, FEW) for words in (120, 420)),
)
TOLERANCES = tuple((50, {"layers": [1, 4], "rtol": rtol}) for rtol in (1e-5,))


def requests():
    """Words of the text, and the other fields of the request."""
    for sizes, every in ((SIZES, MAPS), (TOLERANCES, MAPS[:2])):
        for (words, fields), baselines, maps in itertools.product(sizes, (ZERO, ITB), every):
            yield words, {**fields, **maps, **baselines}
    for granularity, layers in itertools.product(("mlp", "att"), ([0], [*range(6)])):
        yield 420, {"target_tokens": [3], "layers": layers, "granularity": granularity}


def estimated(row):
    """Seconds at the default rate."""
    from lig_core.contract import parse_request
    from lig_core.models.catalog import find_model
    from service.submit.cost import estimate
    from service.submit.model_shape import Shape
    from service.submit.tokens import TokenCount

    asked = parse_request({"text": "x", "model": "minilm", **row["fields"]})
    return estimate(asked, Shape.of(find_model("minilm")), TokenCount(row["tokens"], exact=True)).seconds


def measured():
    import torch

    from lig_core.contract import parse_request
    from lig_core.loading.loaded import load_model
    from lig_core.method import run
    from lig_core.models.catalog import find_model

    torch.set_num_threads(1)
    model = load_model(find_model("minilm"), device="cpu")
    for words, fields in requests():
        asked = parse_request({"text": " ".join(WORDS[:words]), "model": "minilm", **fields})
        seconds = []
        for _ in range(RUNS + 1):  # the first warms up
            before = time.thread_time()
            result = run(asked, model)
            seconds.append(time.thread_time() - before)
        yield {"tokens": len(result["tokens"]), "fields": fields, "seconds": round(min(seconds[1:]), 4)}


def main():
    rows = json.loads(FILE.read_text()) if "--keep" in sys.argv else list(measured())
    lines = [json.dumps(row | {"residual": round(estimated(row) / row["seconds"], 6)}) for row in rows]
    FILE.write_text("[\n " + ",\n ".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
