"""What the adaptive quadrature costs and reaches on real weights: 20 sentences of 5 to 128 tokens on `minilm`.

Every layer, every map and baseline, at the default tolerance. Writes benchmarks/quadrature.json and .md.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import minilm
from lig_core.maps.integrators import Integrator
from lig_core.quadrature import Adaptive, Attribution

HERE = Path(__file__).parent
NEGLIGIBLE = 1e-3
"""A total below this share of the largest total of its map is called negligible."""

SENTENCES = (
    "Rain fell.",
    "Who wrote it?",
    "The cat sat on the mat.",
    "Prices rose by 4.2 % in May.",
    "She gave him the book that he had asked for.",
    "Time flies like an arrow; fruit flies like a banana.",
    "Berlin is the capital of Germany and Paris is the capital of France.",
    "The trophy did not fit into the suitcase because it was too large.",
    "No, the keys are not on the table, nor in the drawer, nor under the mat!",
    "def add(a, b): return a + b  # adds two numbers, or joins two strings",
    "In 1969, Armstrong and Aldrich walked on the Moon while Collins stayed in orbit around it, alone.",
    "Photosynthesis converts light energy into chemical energy, which is stored in sugars made from carbon dioxide "
    "and water.",
    "Although the committee had rejected the proposal twice, the engineers quietly kept building the prototype in the "
    "old hangar near the river.",
    "The defendant, who had until then been silent, rose, looked at the jury, and said in a low voice that he had "
    "never met the witness.",
    "To bake bread you need flour, water, salt and yeast; mix them, let the dough rest for a night, shape it, and put "
    "it into a very hot oven for forty minutes.",
    "Der schnelle braune Fuchs springt über den faulen Hund, während die Katze auf der Fensterbank schläft und von "
    "Mäusen träumt, die es nie gab.",
    "It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness, it "
    "was the epoch of belief, it was the epoch of incredulity, it was the season of light.",
    "Transformers process all tokens of a sequence in parallel: every layer lets each token gather information from "
    "the others by attention, and then transforms what it has gathered, token by token, in a feed-forward network, "
    "before the next layer repeats the same two steps.",
    "When the river rose for the third time that spring, the villagers carried what they could to the church on the "
    "hill: blankets, a radio, two goats, the mayor's typewriter, a crate of apples, and the brass clock that had "
    "stopped in the last flood and that nobody had ever had the heart to repair, although the clockmaker lived next "
    "door.",
    "The market opened lower on Monday after reports that the central bank would raise interest rates again, but it "
    "recovered in the afternoon, when the minister said that no decision had been taken, that inflation was slowing, "
    "that exports had grown by three percent since January, and that the government expected a moderate recovery in "
    "the second half of the year, provided that energy prices did not rise further and that the harvest was not as "
    "poor as some farmers feared after the dry and unusually warm winter, a forecast that most of the analysts whom "
    "this newspaper had asked in the previous week called bold, brave, or simply wishful thinking.",
)


def maps(integrator: Integrator) -> dict[str, Attribution]:
    heads = range(integrator.num_heads)
    return {
        "layer, zero": integrator.layer("zero").attribution,
        "layer, self_input_token": integrator.layer("self_input_token").attribution,
        "att, zero": integrator.att("zero", heads).attribution,
        "att, self_input_token": integrator.att("self_input_token", heads).attribution,
        "mlp (residual), zero": integrator.mlp_from_residual("zero").attribution,
        "mlp (residual), att_itb_a0": integrator.mlp_from_residual("att_itb_a0").attribution,
        "mlp (heads), zero": integrator.mlp_from_heads("zero").attribution,
        "mlp (heads), att_itb_a0": integrator.mlp_from_heads("att_itb_a0").attribution,
    }


def main() -> None:
    torch.set_num_threads(2)
    model = minilm()
    found: dict[str, list[Attribution]] = {}
    lengths = []
    for sentence in SENTENCES:
        encoded = model.encode([sentence])
        lengths.append(len(encoded.tokens[0]))
        (calls,) = model.capture(encoded.inputs)
        targets = torch.arange(lengths[-1])
        for layer, call in enumerate(calls):
            for name, attribution in maps(model.integrator(layer, call, targets, Adaptive())).items():
                found.setdefault(name, []).append(attribution)
    rows = [row(name, attributions) for name, attributions in found.items()]
    report = {"tokens": lengths, "rtol": Adaptive().rtol, "rows": rows}
    (HERE / "quadrature.json").write_text(json.dumps(report, indent=1) + "\n")
    (HERE / "quadrature.md").write_text(table(report))
    print((HERE / "quadrature.md").read_text())


def row(name: str, attributions: list[Attribution]) -> dict[str, Any]:
    nodes = torch.cat([a.nodes for a in attributions]).double()
    total = torch.cat([a.total for a in attributions])
    weighty = torch.cat([a.total >= NEGLIGIBLE * a.total.max() for a in attributions])
    sums = torch.cat([a.values.sum(-1) for a in attributions])
    met = torch.tensor([status in ("ok", "zero_path") for a in attributions for status in a.status])
    missed = (sums - total).abs() / total.clamp_min(torch.finfo(total.dtype).tiny)
    statuses: dict[str, int] = {}
    for attribution in attributions:
        for status in attribution.status:
            statuses[status] = statuses.get(status, 0) + 1
    return {
        "map": name,
        "columns": len(nodes),
        "mean_nodes": float(nodes.mean()),
        "p95_nodes": float(nodes.quantile(0.95)),
        "max_nodes": int(nodes.max()),
        "completeness_max": float(missed[weighty & met].max()),
        "not_met": int((~met).sum()),
        "beyond_rtol_and_not_flagged": int((weighty & met & (missed > Adaptive().rtol)).sum()),
        "statuses": statuses,
    }


def table(report: dict[str, Any]) -> str:
    lines = [
        "# The adaptive quadrature on real weights",
        "",
        f"`minilm`, {len(report['tokens'])} sentences of {min(report['tokens'])} to {max(report['tokens'])} tokens, "
        f"every layer, rtol {report['rtol']:g}, float32. A column is one target (of one head). Completeness: "
        "|sum − total| over the total, the worst of columns that met rtol and whose total is at least a thousandth of "
        "their map's largest.",
        "",
        "| map, baseline | columns | nodes: mean, p95, max | completeness | rtol not met | missed unflagged |",
        "|---|---|---|---|---|---|",
    ]
    for r in report["rows"]:
        lines.append(
            f"| {r['map']} | {r['columns']} | {r['mean_nodes']:.1f}, {r['p95_nodes']:.0f}, {r['max_nodes']} | "
            f"{r['completeness_max']:.1e} | {r['not_met']} {r['statuses'] if r['not_met'] else ''} | "
            f"{r['beyond_rtol_and_not_flagged']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
