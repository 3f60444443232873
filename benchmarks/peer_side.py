"""Runs in the virtual environment of the authors' library (layer-wise-integrated-gradients 0.1.0), never in ours.

Reads one JSON request a line, answers one JSON line: seconds for the columns asked, and their values' sums.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch


def main() -> None:
    from lig.adapters.encoder import EncoderAdapter  # type: ignore[import-not-found]

    answers, sys.stdout = sys.stdout, sys.stderr  # the library prints
    models: dict[str, EncoderAdapter] = {}
    for line in sys.stdin:
        request = json.loads(line)
        torch.set_num_threads(request["threads"])
        folder = request["folder"]
        if folder not in models:
            models[folder] = EncoderAdapter.from_pretrained(folder, device="cpu")
        answers.write(json.dumps(answer(models[folder], request)) + "\n")
        answers.flush()


def answer(adapter, request):
    tokenized = {
        "input_ids": torch.tensor([request["input_ids"]]),
        "attention_mask": torch.ones(1, len(request["input_ids"]), dtype=torch.long),
    }
    z = torch.from_numpy(np.load(request["z"]))[None]
    mask = adapter.attention_mask_for_layer(tokenized, z)
    measure = {"layer": layer, "att": att, "mlp": mlp}[request["map"]]
    columns = measure(adapter, request, tokenized, z, mask)
    next(columns)  # the first column is the warm-up
    start = time.perf_counter()
    sums = list(columns)
    return {"seconds": time.perf_counter() - start, "columns": len(sums), "sums": sums}


def layer(adapter, request, tokenized, z, mask):
    from utils.calculations.ig.z2z.layer_direct_ig import (  # type: ignore[import-not-found]
        compute_layer_direct_ig_single_target,
    )

    for j in [request["targets"][0], *request["targets"]]:
        column = compute_layer_direct_ig_single_target(
            bert_model=adapter.model,
            z_layer=z,
            attention_mask=mask,
            layer_idx=request["layer"],
            target_token_idx=j,
            num_steps=request["steps"],
            baseline_method=request["baseline"],
        )
        yield float(column.sum())


def att(adapter, request, tokenized, z, mask):
    from lig.api import _att_ig_column_scores  # type: ignore[import-not-found]

    inputs = adapter.inputs_for_ig(tokenized)
    for j in [request["targets"][0], *request["targets"]]:
        column = _att_ig_column_scores(
            model=adapter.model,
            inputs=inputs,
            layer_idx=request["layer"],
            target_token_idx=j,
            head_idx=0,
            baseline_method=request["baseline"],
            num_steps=request["steps"],
        )
        yield float(np.sum(column))


def mlp(adapter, request, tokenized, z, mask):
    from utils.calculations.ig.mlp.mlp_lig_ig import compute_mlp_lig_single_token  # type: ignore[import-not-found]

    for j in [request["targets"][0], *request["targets"]]:
        u = adapter.u_from_z(request["layer"], z, mask, j)
        found = compute_mlp_lig_single_token(
            model_mlp=adapter.model,
            layer_idx=request["layer"],
            target_mlp_input=u.unsqueeze(0),
            baseline_mlp_input=torch.zeros_like(u).unsqueeze(0),
            num_steps=request["steps"],
        )
        yield float(sum(found["contributions"]))


if __name__ == "__main__":
    main()
